"""The only module of the operator's side that speaks to S3: asks what stands under a name."""

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactError,
    ArtifactInvalid,
    ArtifactUnavailable,
)
from tenantry.manifest.spec import ModelSource
from tenantry.model_id import ModelId
from tenantry.processes.once import once
from tenantry.stores import etags, s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectRequestTypeDef


class S3Resolver:
    """Pins what an ``s3://`` source means now, with one HEAD request.

    Args:
        endpoint_url: of a server other than Amazon's; None: AWS, or AWS_ENDPOINT_URL_S3.
        connections: kept to the server: how many may ask at once.
    """

    def __init__(self, endpoint_url: str | None, *, connections: int) -> None:
        self._endpoint_url = endpoint_url
        self._config = Config(
            connect_timeout=3,
            read_timeout=10,
            retries={"total_max_attempts": 2, "mode": "standard"},
            max_pool_connections=connections,
            request_checksum_calculation="when_required",  # other stores than Amazon's refuse what is new
            response_checksum_validation="when_required",
        )
        # Made on first use: a folder of file:// models needs no AWS region.
        self._client = once(self._make)

    def _make(self) -> "S3Client":
        return boto3.session.Session().client("s3", endpoint_url=self._endpoint_url, config=self._config)

    def resolve(self, source: ModelSource) -> ModelId:
        """Return the id of the version that a GET would return now.

        Raises:
            ArtifactError: there is none, or the store did not say.
        """
        bucket, _, key = source.uri.removeprefix("s3://").partition("/")
        request: HeadObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if source.version_id:
            request["VersionId"] = source.version_id
        try:
            answer = self._client().head_object(**request)
        except (ClientError, BotoCoreError) as error:
            raise _explained(error, source) from error
        version_id = answer.get("VersionId", "")
        etag = etags.of_header(answer.get("ETag"))
        found = source.pinned(etag=etag, version_id="" if version_id == "null" else version_id)
        if not (found.etag or found.version_id or found.sha256):
            raise ArtifactInvalid(
                source.uri, "its store names no version and no ETag; pin it with spec.model.sha256"
            )
        return found


def _explained(error: ClientError | BotoCoreError, source: ModelSource) -> ArtifactError:
    if isinstance(error, NoCredentialsError):
        return ArtifactAccessDenied(source.uri, "no AWS credentials were found")
    if not isinstance(error, ClientError):
        return ArtifactUnavailable(source.uri, type(error).__name__)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    return s3_errors.of_status(status, source.uri, code=code, version_id=source.version_id or None)
