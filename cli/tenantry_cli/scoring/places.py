"""Where tables lie: files, and objects in S3, with the same methods and the same errors (OSError)."""

import errno
import io
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

import click

from tenantry.processes import files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUFFER_BYTES = 8 << 20
_SILENT_S = 60.0  # a store answers a write once it has all of it


class Place(ABC):
    """A file or an object, or a name for one.

    Attributes:
        name: as it was given, for messages.
        suffix: of the name, in lower case.
        at_once_bytes: how much to read at a position, where more of it will be read.
    """

    name: str
    at_once_bytes: int

    @property
    def suffix(self) -> str:
        """From the last dot on."""
        return Path(self.name).suffix.lower()

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what differs where other bytes stand here.

        Raises:
            OSError: there is nothing, or it can't be read.
        """

    @abstractmethod
    def opened(self) -> BinaryIO:
        """Open it for reading, at any position.

        Raises:
            OSError: there is nothing, or it can't be read.
        """

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is something.

        Raises:
            OSError: that can't be said.
        """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Put these bytes here, whole or not at all.

        Raises:
            OSError: that can't be done; what was here stands.
        """

    @abstractmethod
    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """Yield a file whose bytes stand here once the block has ended well, whole or not at all."""

    @abstractmethod
    def beside(self, ending: str) -> "Place":
        """Return the place whose name is longer by `ending`."""

    @abstractmethod
    def below(self, name: str) -> "Place":
        """Return a place in this one, as in a folder, which is made where it is missing."""

    @abstractmethod
    def clear(self) -> None:
        """Delete this, as a folder, with what is in it; nothing where it is missing."""


class File(Place):
    """On this machine."""

    at_once_bytes = 256 << 10

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = Path(name)

    def identity(self) -> dict[str, Any]:
        """As `Place`: size and time of the last change."""
        status = self._path.stat()
        return {"size_bytes": status.st_size, "changed_ns": status.st_mtime_ns}

    def opened(self) -> BinaryIO:
        """As `Place`."""
        return self._path.open("rb")

    def exists(self) -> bool:
        """As `Place`."""
        return self._path.exists()

    def write(self, data: bytes) -> None:
        """As `Place`."""
        files.replace(self._path, data)

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """As `Place`."""
        temporary = self._path.with_name(f".{self._path.name}.{uuid4().hex}")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def beside(self, ending: str) -> "File":
        """As `Place`."""
        return File(self.name + ending)

    def below(self, name: str) -> "File":
        """As `Place`."""
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, "this folder does not exist; create it", str(self._path.parent)
            )
        self._path.mkdir(exist_ok=True)
        return File(str(self._path / name))

    def clear(self) -> None:
        """As `Place`."""
        if self._path.exists():
            shutil.rmtree(self._path)


class Object(Place):
    """In S3.

    Args:
        name: ``s3://BUCKET/KEY``.
    """

    at_once_bytes = _BUFFER_BYTES

    def __init__(self, name: str, client: "S3Client") -> None:
        self.name = name
        self._client = client
        self._bucket, _, self._key = name.removeprefix("s3://").partition("/")

    def identity(self) -> dict[str, Any]:
        """As `Place`: size and ETag."""
        with self._as_file():
            head = self._client.head_object(Bucket=self._bucket, Key=self._key)
        return {"size_bytes": head["ContentLength"], "etag": head["ETag"]}

    def opened(self) -> BinaryIO:
        """As `Place`; an object that is replaced meanwhile is an error."""
        seen = self.identity()
        return io.BufferedReader(_Ranges(self, seen["size_bytes"], seen["etag"]), _BUFFER_BYTES)

    def part(self, first: int, end: int, etag: str) -> bytes:
        """Return the bytes from `first` up to `end` of the version with this ETag."""
        with self._as_file():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key, Range=f"bytes={first}-{end - 1}"
            )
            data = answer["Body"].read()
        if answer["ETag"] != etag:
            raise OSError(errno.ESTALE, "the object was replaced while it was read", self.name)
        return data

    def exists(self) -> bool:
        """As `Place`."""
        try:
            self.identity()
        except FileNotFoundError:
            return False
        return True

    def write(self, data: bytes) -> None:
        """As `Place`."""
        with self._as_file():
            self._client.put_object(Bucket=self._bucket, Key=self._key, Body=data)

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """As `Place`; the bytes are kept in a temporary file until they are sent."""
        with tempfile.TemporaryFile() as file:
            yield file
            file.flush()
            file.seek(0)
            with self._as_file():
                self._client.upload_fileobj(file, self._bucket, self._key)

    def beside(self, ending: str) -> "Object":
        """As `Place`."""
        return Object(self.name + ending, self._client)

    def below(self, name: str) -> "Object":
        """As `Place`; S3 has no folders to make."""
        return Object(f"{self.name}/{name}", self._client)

    def clear(self) -> None:
        """As `Place`."""
        with self._as_file():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._key}/"
            )
            for each in [found for page in pages for found in page.get("Contents", ())]:
                self._client.delete_object(Bucket=self._bucket, Key=each["Key"])

    def _as_file(self) -> Any:
        from tenantry_server.artifacts.s3 import as_files  # noqa: PLC0415 - `place` has imported it

        return as_files(self.name)


class _Ranges(io.RawIOBase):
    """An object as a file: each read is a request for a range of its bytes."""

    def __init__(self, of: Object, size_bytes: int, etag: str) -> None:
        self._of = of
        self._size_bytes = size_bytes
        self._etag = etag
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size_bytes)
        if end <= self._at:
            return 0
        data = self._of.part(self._at, end, self._etag)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def place(name: str, s3_endpoint_url: str | None) -> Place:
    """Return where a table lies.

    Raises:
        click.ClickException: the address is of another kind, or what speaks to S3 is not installed.
    """
    if not name.startswith("s3://"):
        if "://" in name:
            raise click.ClickException(f"{name}: a table is a file, or s3://BUCKET/KEY")
        return File(name)
    if not all(name.removeprefix("s3://").partition("/")[::2]):
        raise click.ClickException(f"{name}: write s3://BUCKET/KEY")
    try:
        from tenantry_server.artifacts.s3 import make_client  # noqa: PLC0415 - files need none of it
    except ModuleNotFoundError as error:
        raise click.ClickException(f"tables in S3 need {error.name}: pip install 'tenantry[all]'") from None
    return Object(name, make_client(s3_endpoint_url, silent_s=_SILENT_S))
