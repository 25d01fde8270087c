"""The only module of the server's side that speaks to S3: reads artifacts, and publishes them."""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    NoCredentialsError,
    ResponseStreamingError,
)

from tenantry import ModelId
from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactChanged,
    ArtifactError,
    ArtifactNotFound,
    ArtifactTooLarge,
    ArtifactTruncated,
    ArtifactUnavailable,
)
from tenantry.stores import etags, s3_errors
from tenantry_server.artifacts import headroom
from tenantry_server.artifacts.repositories import MAX_ARTIFACT_BYTES, ArtifactRepository

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef


def make_client(
    endpoint_url: str | None = None, *, connections: int = 10, silent_s: float = 2.0
) -> "S3Client":
    """An S3 client with bounded waits; credentials and region as boto3 finds them.

    Args:
        endpoint_url: of a server other than Amazon's; None: AWS, or AWS_ENDPOINT_URL_S3.
        connections: kept to the server.
        silent_s: a server that sends nothing for so many seconds is asked again, three times in all.
    """
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=1,  # thrice, with pauses, and time is left for another server to be asked
            read_timeout=silent_s,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=connections,
            # boto3 sends checksums of its own as trailers (aws-chunked), which many other stores refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class S3ModelRepository(ArtifactRepository):
    """Reads ``s3://`` artifacts, each exactly in the version that its id pins.

    An id with a versionId reads that version; one with an ETag is read with If-Match, and the ETag of the
    answer is compared, so that an object that was overwritten is an error and never another model; a
    sha256 is checked besides.

    Args:
        client: from `make_client`.
        max_bytes: of one artifact.

    Example:
        >>> import pandas as pd
        >>> from sklearn.linear_model import LinearRegression
        >>> from tenantry_server import publish
        >>> bucket = getfixture("s3_bucket")  # and the environment that boto3 reads
        >>> fitted = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
        >>> declared = publish(fitted, user_id="ann", to=f"s3://{bucket}/models")
        >>> repository = S3ModelRepository(make_client())
        >>> model = repository.get_model(str(declared.spec.model.pinned()))
        >>> model.predict(pd.DataFrame({"x": [2.0]})).round(6)
        array([5.])
    """

    def __init__(self, client: "S3Client", *, max_bytes: int = MAX_ARTIFACT_BYTES) -> None:
        self._client = client
        self._max_bytes = max_bytes

    def read(self, model_id: ModelId) -> bytes:
        """GET the pinned version."""
        bucket, key = split_uri(model_id.uri)
        request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if model_id.version_id:
            request["VersionId"] = model_id.version_id
        demanded = etags.if_match(model_id.etag) if model_id.etag else None
        if demanded is not None:
            request["IfMatch"] = demanded
        expected_bytes = 0
        try:
            answer = self._answer(request)
            seen_tag = etags.of_header(answer.get("ETag"))
            if model_id.etag and seen_tag and not etags.same(seen_tag, model_id.etag):
                answer["Body"].close()  # a store that takes no notice of If-Match
                raise ArtifactChanged(model_id.uri, f"ETag {model_id.etag}, it has {seen_tag}")
            expected_bytes = answer["ContentLength"]
            if expected_bytes > self._max_bytes:
                answer["Body"].close()
                raise ArtifactTooLarge(model_id.uri, expected_bytes, self._max_bytes)
            headroom.admit(expected_bytes)
            data = answer["Body"].read()
        except IncompleteReadError as error:
            seen = int(error.kwargs["actual_bytes"])
            raise ArtifactTruncated(model_id.uri, seen, expected_bytes) from error
        except ResponseStreamingError as error:
            raise ArtifactTruncated(model_id.uri, 0, expected_bytes) from error
        except (ClientError, BotoCoreError) as error:
            raise explained(error, model_id) from error
        if len(data) != expected_bytes:
            raise ArtifactTruncated(model_id.uri, len(data), expected_bytes)
        return data

    def _answer(self, request: "GetObjectRequestTypeDef") -> "GetObjectOutputTypeDef":
        """GET, without If-Match where the store lacks that: the answer's tag is compared anyway."""
        try:
            return self._client.get_object(**request)
        except ClientError as error:
            refused = error.response.get("Error", {}).get("Code") == "NotImplemented"
            if not refused or request.pop("IfMatch", None) is None:
                raise
        return self._client.get_object(**request)


def publish_bytes(client: "S3Client", uri: str, data: bytes) -> None:
    """Write a new object, whose name has the time and its digest.

    So it can only take the place of the same bytes, and no conditional header is needed, which some stores
    refuse.

    Raises:
        ArtifactError: the store refused, or did not answer; in words for the person who publishes.
    """
    bucket, key = split_uri(uri)
    try:
        client.put_object(Bucket=bucket, Key=key, Body=data)
    except (ClientError, BotoCoreError) as error:
        raise _for_the_publisher(explained(error, ModelId(uri)), error, uri) from error


def listed(client: "S3Client", bucket: str, prefix: str) -> Iterator[tuple[str, int, float]]:
    """Yield each object below a prefix, page by page: its key, bytes, and time (seconds since the epoch).

    Raises:
        ArtifactError: the store refused, or did not answer.
    """
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                yield each["Key"], each["Size"], each["LastModified"].timestamp()
    except (ClientError, BotoCoreError) as error:
        raise explained(error, ModelId(f"s3://{bucket}/{prefix}")) from error


def sha256_of(client: "S3Client", uri: str) -> str | None:
    """Read an object and return its digest, hexadecimal; None: it is gone.

    Raises:
        ArtifactError: the store refused, or did not answer.
    """
    bucket, key = split_uri(uri)
    digest = hashlib.sha256()
    try:
        for piece in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
            digest.update(piece)
    except (ClientError, BotoCoreError) as error:
        problem = explained(error, ModelId(uri))
        if isinstance(problem, ArtifactNotFound):
            return None
        raise problem from error
    return digest.hexdigest()


def delete(client: "S3Client", uri: str) -> None:
    """Delete an object, if it is there.

    Raises:
        ArtifactError: the store refused, or did not answer.
    """
    bucket, key = split_uri(uri)
    try:
        client.delete_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError) as error:
        raise explained(error, ModelId(uri)) from error


def _for_the_publisher(
    problem: ArtifactError, error: ClientError | BotoCoreError, uri: str
) -> ArtifactError:
    """Return the same kind of error, with what the one who writes can do."""
    bucket, _ = split_uri(uri)
    said = type(error).__name__
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = f"HTTP {status} {error.response.get('Error', {}).get('Code', '')}".rstrip()
    match problem:
        case ArtifactAccessDenied():
            help_ = f"grant s3:PutObject on {uri} to the credentials that this process runs with"
            said = "no AWS credentials were found" if isinstance(error, NoCredentialsError) else said
        case ArtifactNotFound():
            help_ = f"create the bucket {bucket}, or publish to another one"
        case _:
            help_ = "check the endpoint (s3_endpoint_url, TENANTRY_S3_ENDPOINT_URL), and publish again"
    return type(problem).of_publishing(f"{uri} could not be stored ({said}); {help_}; nothing was declared")


@contextmanager
def as_files(uri: str) -> Iterator[None]:
    """Turn errors of S3 in the block into those that a file would raise; for tables, not artifacts.

    Raises:
        OSError: FileNotFoundError and PermissionError among them; without credentials or query strings.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        said, status = type(error).__name__, 0
        if isinstance(error, ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            said = f"HTTP {status} {error.response.get('Error', {}).get('Code', '')}".rstrip()
        number = {404: errno.ENOENT, 403: errno.EACCES}.get(status, errno.EIO)
        words = "no AWS credentials were found" if isinstance(error, NoCredentialsError) else said
        raise OSError(number, f"S3 refused it ({words})", uri) from error


def split_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/key`` as (bucket, key)."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def explained(error: ClientError | BotoCoreError, model_id: ModelId) -> ArtifactError:
    """Return what a failed call means for the artifact, without credentials or query strings."""
    if isinstance(error, NoCredentialsError):
        return ArtifactAccessDenied(model_id.uri, "no AWS credentials were found")
    if not isinstance(error, ClientError):
        return ArtifactUnavailable(model_id.uri, type(error).__name__)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    return s3_errors.of_status(
        status, model_id.uri, code=code, version_id=model_id.version_id, etag=model_id.etag
    )
