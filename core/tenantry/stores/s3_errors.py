"""What an HTTP status of S3 means for an artifact: one table, for both sides.

Statuses and codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. Refuses to know
boto3: its exceptions are taken apart by the one module of each side that imports it.
"""

from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactChanged,
    ArtifactError,
    ArtifactNotFound,
    ArtifactUnavailable,
)


def of_status(
    status: int, uri: str, *, code: str = "", version_id: str | None = None, etag: str | None = None
) -> ArtifactError:
    """Return the error for a refused request.

    Args:
        status: of HTTP; 0 where the client could not tell.
        uri: of the artifact.
        code: of the error document; a HEAD has none, and boto3 then repeats the status.
        version_id: that the request asked for.
        etag: that the request demanded (If-Match).

    Example:
        >>> of_status(412, "s3://models/ann.joblib", etag="abc").reason
        'ArtifactChanged'
    """
    code = "" if code.isdigit() else code
    version = f"version {version_id}" if version_id else ""
    match status:
        case 404:
            return ArtifactNotFound(uri, code or version)
        case 400 if version:  # not the form of a version id of this store
            return ArtifactNotFound(uri, f"{code}: {version}" if code else version)
        case 401 | 403:
            return ArtifactAccessDenied(uri, code)
        case 412:
            return ArtifactChanged(uri, f"ETag {etag}")
        case _:
            return ArtifactUnavailable(uri, f"HTTP {status} {code}".rstrip(), reached=True)
