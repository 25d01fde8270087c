"""What clients are not told: where the artifacts of a model lie."""

import json

import pytest

from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactNotFound,
    ModelNotAssigned,
    ModelStalled,
    TenantryError,
)
from tenantry.model_id import public_name
from tenantry_server.wire import headers
from tenantry_server.wire.errors import responses as error_responses

SECRET = "s3://payroll/a secret/7.joblib"  # noqa: S105 - not a password


@pytest.mark.parametrize(
    "error",
    [
        ArtifactNotFound(SECRET),
        ArtifactAccessDenied(SECRET, "403"),
        ModelStalled("ann", "ArtifactNotFound", f"no artifact at {SECRET}"),
        ModelStalled("ann", "PolicyDenied", "file:///srv/secret/7.pkl is below none of x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_names_its_reason_and_no_bucket_or_key(error: TenantryError) -> None:
    answer = error_responses.of_error(error, error_responses.native)
    assert isinstance(answer.body, bytes)
    said = json.loads(answer.body)["error"]
    assert said["reason"] == error.reason
    assert "secret" not in said["message"]
    assert "payroll" not in said["message"]


def test_an_error_that_names_none_keeps_its_words() -> None:
    answer = error_responses.of_error(ModelNotAssigned("ann"), error_responses.native)
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["error"]["message"] == str(ModelNotAssigned("ann"))


def test_the_header_tells_models_apart_and_nothing_of_where_they_lie() -> None:
    digest = "9f86d081" * 8
    ids = [
        f"s3://payroll/secret.joblib#sha256={digest}",
        f"s3://payroll/other.joblib#sha256={digest}",
        f"s3://payroll/secret.joblib#sha256={digest}&method=predict_proba",
        "s3://payroll/secret.joblib?versionId=a/b+c#etag=x",
        "line\nbreak",
        "\udcff",
    ]
    names = [headers.value_of(each) for each in ids]
    assert len(set(names)) == len(ids)
    assert all(name.isascii() and name.replace("-", "").isalnum() for name in names)
    assert names[0] == public_name(ids[0])
    assert names[0].startswith("9f86d081-")
