"""The tree of errors."""

import re

from tenantry import errors
from tenantry.errors import TenantryError


def _all(kind: type[TenantryError]) -> list[type[TenantryError]]:
    below = [c for c in kind.__subclasses__() if c.__module__ == errors.__name__]
    return below + [deeper for c in below for deeper in _all(c)]


def test_the_docstring_draws_every_error() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn == {kind.__name__ for kind in _all(TenantryError)}


def test_reasons_are_names_that_no_two_errors_share() -> None:
    """HTTP bodies, conditions and metrics are told apart by them."""
    reasons = [kind.reason for kind in _all(TenantryError)]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", reason) for reason in reasons)


def test_an_artifact_message_shows_no_query() -> None:
    """A presigned URL carries its secret in the query; no artifact URI may have one."""
    assert "?" not in str(errors.ArtifactNotFound("s3://b/k", "NoSuchKey"))
