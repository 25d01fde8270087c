"""Where artifacts go: a folder or an S3 bucket, under a name that never repeats."""

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tenantry import files
from tenantry_server.artifacts.s3 import make_client, publish_bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_STORING_S = 60.0  # a store answers once it has the whole artifact


@dataclass(frozen=True, slots=True)
class Place:
    """A name that nothing has yet, for one file.

    Attributes:
        uri: ``s3://`` or ``file://``.
        path: of a file; None: S3.
    """

    uri: str
    path: Path | None

    def store(self, data: bytes, *, s3_endpoint_url: str | None) -> None:
        """Write the file, whole or not at all.

        Raises:
            ArtifactError: the S3 server refused it, or did not answer.
            OSError: the folder can't be written to.
        """
        if self.path is None:
            publish_bytes(_client(s3_endpoint_url, _aws_environment()), self.uri, data)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self.path, data)


def place_for(to: str | Path, user_id: str, data: bytes, suffix: str) -> Place:
    """Return where the file goes: below `to`, in the user's folder, by the time and the digest."""
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{hashlib.sha256(data).hexdigest()[:12]}"
    if str(to).startswith("s3://"):
        prefix = str(to).removeprefix("s3://").strip("/")
        return Place(f"s3://{prefix}/{user_id}/{stem}{suffix}", None)
    path = Path(to).absolute() / quote(user_id, safe="@+~") / f"{stem}{suffix}"
    return Place(path.as_uri(), path)


def _aws_environment() -> frozenset[tuple[str, str]]:
    return frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))


@lru_cache(maxsize=4)  # making one takes 0.1 s: as long as fitting a small model
def _client(endpoint_url: str | None, _environment: frozenset[tuple[str, str]]) -> "S3Client":
    return make_client(endpoint_url, silent_s=_STORING_S)
