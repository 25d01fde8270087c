"""Where artifacts go: a folder or an S3 bucket, under a name that never repeats.

Refuses an address of another kind before anything is written: `gs://b/x` is also the name of a folder.
"""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote

from tenantry.errors import NotPublished
from tenantry.processes import files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

USER_SAFE = "@+~"
"""Of a user id, what stands in the name of a folder as it is, beside letters, digits and ``_.-``."""

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

    def beside(self, suffix: str) -> "Place":
        """Return the name of a file that lies beside this one."""
        path = None if self.path is None else self.path.with_name(self.path.name + suffix)
        return Place(self.uri + suffix, path)

    def store(self, data: bytes, *, s3_endpoint_url: str | None) -> None:
        """Write the file, whole or not at all.

        Args:
            s3_endpoint_url: None: TENANTRY_S3_ENDPOINT_URL, else as boto3 finds it.

        Raises:
            ArtifactError: the S3 server refused it, or did not answer.
            OSError: the folder can't be written to.
        """
        if self.path is None:
            from tenantry_server.artifacts.s3 import publish_bytes  # noqa: PLC0415 - boto3 takes 0.5 s

            publish_bytes(client_for(s3_endpoint_url), self.uri, data)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self.path, data)

    @classmethod
    def of(cls, uri: str) -> Self:
        """Return the place that a URI of `place_for` names."""
        return cls(uri, Path(unquote(uri.removeprefix("file://"))) if uri.startswith("file://") else None)


def place_for(to: str | Path, user_id: str, sha256: str, suffix: str) -> Place:
    """Return where the file goes: below `to`, in the user's folder, by the time and the digest.

    Args:
        sha256: of its bytes, hexadecimal.

    Raises:
        NotPublished: `to` is neither a folder nor in S3.

    Example:
        >>> place_for("s3://models/shop/", "ann", "e3b0c44298fc1c14", ".joblib").uri
        's3://models/shop/ann/...-e3b0c44298fc.joblib'
        >>> place_for("gs://models/shop", "ann", "e3b0c44298fc1c14", ".joblib")
        Traceback (most recent call last):
        tenantry.errors.publishing.NotPublished: gs://models/shop: is neither a folder nor ...
    """
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{sha256[:12]}"
    base, folder = _base(str(to))
    if folder is None:
        return Place(f"{base}/{user_id}/{stem}{suffix}", None)
    name = f"{quote(user_id, safe=USER_SAFE)}/{stem}{suffix}"
    return Place(f"{base}/{quote(name)}", folder / name)


def _base(address: str) -> tuple[str, Path | None]:
    """Return the URI that all places below an address begin with, and the folder; None: S3."""
    if address.startswith("s3://"):
        prefix = address.removeprefix("s3://").strip("/")
        if not prefix:
            raise NotPublished(address, "it names no bucket; write s3://BUCKET/PREFIX")
        return f"s3://{prefix}", None
    folder = local_folder(address).absolute()
    return folder.as_uri().rstrip("/"), folder


def local_folder(address: str | Path) -> Path:
    """Return the folder that a path or a ``file:///`` URI names.

    Raises:
        NotPublished: it is a URI of another kind, also one that `Path` has already shortened.
    """
    text = str(address)
    if text.startswith("file:///"):
        return Path(unquote(text.removeprefix("file://")))
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text)
    if found is None:
        return Path(address)
    if found[1].lower() == "s3":
        bucket = text.partition(":")[2].lstrip("/")
        raise NotPublished(text, f"write s3://{bucket or 'BUCKET/PREFIX'}, as a text and not as a Path")
    raise NotPublished(text, f"is neither a folder nor s3://BUCKET/PREFIX (write ./{text} for a folder)")


def client_for(s3_endpoint_url: str | None) -> "S3Client":
    """Return the client for an S3 server, one for as long as the environment stays.

    Args:
        s3_endpoint_url: None: TENANTRY_S3_ENDPOINT_URL, else as boto3 finds it.
    """
    return _client(s3_endpoint_url or _endpoint_of_environment(), _aws_environment())


def _endpoint_of_environment() -> str | None:
    """Read the one setting that publishing has, without what reads all of a server's."""
    named = (value for name, value in os.environ.items() if name.upper() == "TENANTRY_S3_ENDPOINT_URL")
    return next(named, None) or None


def _aws_environment() -> frozenset[tuple[str, str]]:
    return frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))


@lru_cache(maxsize=4)  # making one takes 0.1 s: as long as fitting a small model
def _client(endpoint_url: str | None, _environment: frozenset[tuple[str, str]]) -> "S3Client":
    from tenantry_server.artifacts.s3 import make_client  # noqa: PLC0415 - as above

    return make_client(endpoint_url, silent_s=_STORING_S)
