"""The table from S3's statuses to errors."""

import pytest

from tenantry.errors import ArtifactUnavailable
from tenantry.stores import s3_errors

URI = "s3://models/ann.joblib"
NOTHING = f"no artifact at {URI}"


@pytest.mark.parametrize(
    ("status", "asked", "reason", "message"),
    [
        (404, {"code": "NoSuchKey"}, "ArtifactNotFound", f"{NOTHING} (NoSuchKey)"),
        (404, {"code": "404"}, "ArtifactNotFound", f"{NOTHING};"),
        (404, {"code": "404", "version_id": "v7"}, "ArtifactNotFound", f"{NOTHING} (version v7)"),
        (
            400,
            {"code": "InvalidArgument", "version_id": "v7"},
            "ArtifactNotFound",
            "(InvalidArgument: version v7)",
        ),
        (400, {"code": "400", "version_id": "v7"}, "ArtifactNotFound", "(version v7)"),
        (400, {"code": "InvalidRequest"}, "ArtifactUnavailable", "HTTP 400 InvalidRequest;"),
        (401, {}, "ArtifactAccessDenied", f"access to {URI} was denied;"),
        (403, {"code": "AccessDenied"}, "ArtifactAccessDenied", "was denied (AccessDenied);"),
        (412, {"etag": "abc"}, "ArtifactChanged", "pinned (ETag abc)"),
        (503, {"code": "SlowDown"}, "ArtifactUnavailable", "HTTP 503 SlowDown;"),
        (500, {"code": "500"}, "ArtifactUnavailable", "HTTP 500;"),
    ],
)
def test_each_status_has_one_meaning(status: int, asked: dict[str, str], reason: str, message: str) -> None:
    error = s3_errors.of_status(status, URI, **asked)
    assert (error.reason, message in str(error)) == (reason, True), str(error)


def test_a_store_that_answered_was_reached() -> None:
    """Another server would get the same answer, so no peer is asked."""
    error = s3_errors.of_status(503, URI)
    assert isinstance(error, ArtifactUnavailable)
    assert error.reached
