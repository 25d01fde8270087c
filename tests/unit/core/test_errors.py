"""The tree of errors."""

import re
from collections.abc import Callable

import pytest
from botocore.exceptions import EndpointConnectionError

from tenantry import errors
from tenantry.errors import TenantryError
from tenantry.manifest.spec import ModelSource
from tenantry_operator.artifacts import s3 as operator_s3
from tenantry_server.artifacts import s3 as server_s3


def _all(kind: type[TenantryError]) -> list[type[TenantryError]]:
    below = [c for c in kind.__subclasses__() if c.__module__.startswith("tenantry.errors.")]
    return below + [deeper for c in below for deeper in _all(c)]


def test_the_docstring_draws_every_error() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn == {kind.__name__ for kind in _all(TenantryError)}


def test_reasons_are_names_that_no_two_errors_share() -> None:
    """HTTP bodies, conditions and metrics are told apart by them."""
    reasons = [kind.reason for kind in _all(TenantryError)]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", reason) for reason in reasons)


@pytest.mark.parametrize("of_failure", [server_s3.explained, operator_s3._explained])
def test_a_store_that_fails_shows_no_query(of_failure: Callable[..., TenantryError]) -> None:
    """A presigned URL carries its secret in the query, and the client's own words quote the URL."""
    failure = EndpointConnectionError(endpoint_url="https://store/k?X-Amz-Signature=secret")
    assert "secret" in str(failure)
    source = ModelSource(uri="s3://bucket/k")
    told = of_failure(failure, source)
    assert "s3://bucket/k" in str(told)
    assert "secret" not in str(told)
