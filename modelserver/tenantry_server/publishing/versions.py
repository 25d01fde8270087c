"""The versions that `publish` stored below a folder or a prefix: listed user by user, proven, and deleted.

Only what `publish` itself stored is a version: its name says so (the time and the digest, in the folder of
a user), and its bytes have that digest. Refuses links, and everything else that lies there.
"""

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from tenantry.errors import NotPublished
from tenantry.model_id import CARD_SUFFIX, SIGNATURE_SUFFIX
from tenantry_server.publishing.stores import USER_SAFE, client_for, local_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

YOUNG_S = 3600.0
"""A version younger than this may be one of a publication that is under way."""

_STEM = re.compile(r"\d{8}T\d{12}-[0-9a-f]{12}")
_NAME = re.compile(rf"({_STEM.pattern})(\.[^./\\]+)?")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252}")
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Version:
    """One artifact that has the name of a version.

    Attributes:
        folder: of its user, as the store names it.
        name: of the file.
        size_bytes: of it, its card and its signature.
        modified_s: when the store says that the newest of them was written, seconds since the epoch.
        beside: names of its card and its signature, as far as they lie beside it.
    """

    folder: str
    name: str
    size_bytes: int
    modified_s: float
    beside: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The time and the digest, which no other version has."""
        return self.name[: len("20261129T175135607752-1a0071f7d6b1")]

    @property
    def published_s(self) -> float:
        """When its publisher named it, seconds since the epoch."""
        return _time_in(self.name)


class Store(Protocol):
    """Where versions lie."""

    def users(self) -> Iterator[Sequence[Version]]:
        """Yield the versions of one user after the other; no more than those of one are held."""

    def is_itself(self, version: Version) -> bool:
        """Read it, and return whether its bytes have the digest that its name says."""

    def delete(self, version: Version) -> None:
        """Delete what lies beside it, and then it; what is interrupted between is found again."""

    def uri(self, version: Version) -> str:
        """Return how people find it."""


def stems_in(text: str) -> set[str]:
    """Return the versions that a text names, percent-encoded or not.

    Example:
        >>> stems_in("uri: s3://m/ann/20261129T175135607752-1a0071f7d6b1.joblib.card.json")
        {'20261129T175135607752-1a0071f7d6b1'}
    """
    return {*_STEM.findall(text), *_STEM.findall(unquote(text))}


def surplus(
    versions: Sequence[Version], named: Collection[str], *, keep: int, now_s: float
) -> list[Version]:
    """Return the versions of one user that may go: neither among the newest, nor named, nor young.

    Args:
        versions: proven, or a file with a name of next year would push all others out of the newest.
        named: the stems that something names.
        keep: how many of the newest stay, whether they are named or not.
        now_s: seconds since the epoch.
    """
    newest_last = sorted(versions, key=lambda version: version.stem)
    older = newest_last[: max(0, len(newest_last) - keep)]
    return [
        version
        for version in older
        if version.stem not in named and max(version.modified_s, version.published_s) <= now_s - YOUNG_S
    ]


def store_at(to: str | Path, s3_endpoint_url: str | None) -> Store:
    """Return the versions below `to`, which is what `publish` took.

    Raises:
        NotPublished: it is neither a folder nor in S3.
    """
    address = str(to)
    if address.startswith("s3://"):
        bucket, _, prefix = address.removeprefix("s3://").strip("/").partition("/")
        if not bucket:
            raise NotPublished(address, "it names no bucket; write s3://BUCKET/PREFIX")
        return S3Store(client_for(s3_endpoint_url), bucket, f"{prefix}/" if prefix else "")
    folder = local_folder(to)
    if not folder.is_dir():
        raise NotPublished(address, "this folder does not exist")
    return FolderStore(folder.absolute())


def _is_version(name: str) -> bool:
    try:
        return _NAME.fullmatch(name) is not None and _time_in(name) > 0
    except ValueError:  # the digits are not a time
        return False


def _time_in(name: str) -> float:
    return datetime.strptime(name[:21], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC).timestamp()


def _versions(folder: str, files: Sequence[tuple[str, int, float]]) -> list[Version]:
    """Return the versions among the files (name, bytes, time) of one user."""
    known = {name: (size, at_s) for name, size, at_s in files}
    found = []
    for name in known:
        if _is_version(name) and not name.endswith(SIGNATURE_SUFFIX):
            beside = [name + suffix for suffix in (CARD_SUFFIX, SIGNATURE_SUFFIX) if name + suffix in known]
            sizes, times = zip(*(known[each] for each in (name, *beside)), strict=True)
            found.append(Version(folder, name, sum(sizes), max(times), tuple(beside)))
    return found


class FolderStore:
    """Versions in a folder; no link is followed, also not one that somebody puts there meanwhile.

    Args:
        folder: absolute.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def users(self) -> Iterator[Sequence[Version]]:
        """Yield the versions of one user after the other."""
        with os.scandir(self._folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        for name in names:
            if _USER.fullmatch(unquote(name)) and quote(unquote(name), safe=USER_SAFE) == name:
                with self._opened(name) as folder:
                    yield _versions(name, [] if folder is None else _files(folder))

    def is_itself(self, version: Version) -> bool:
        """Hash the file."""
        with self._opened(version.folder) as folder:
            if folder is None:
                return False
            try:
                descriptor = os.open(
                    version.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder
                )
            except OSError:
                return False
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no Path
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return False
                digest = hashlib.sha256()
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
        return version.stem.endswith(digest.hexdigest()[:12])

    def delete(self, version: Version) -> None:
        """Delete what lies beside it, and then the artifact."""
        with self._opened(version.folder) as folder:
            if folder is None:
                return
            for name in (*version.beside, version.name):
                try:
                    os.unlink(name, dir_fd=folder)
                except FileNotFoundError:
                    continue

    def uri(self, version: Version) -> str:
        """Return its path."""
        return str(self._folder / version.folder / version.name)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int | None]:
        """Open a user's folder; None: it is gone, or a link stands there now."""
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _files(folder: int) -> list[tuple[str, int, float]]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found.append((entry.name, status.st_size, status.st_mtime))
    return found


class S3Store:
    """Versions in a bucket, listed a thousand objects at a time.

    Args:
        client: of the S3 server.
        prefix: empty, or ending with a slash.
    """

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    def users(self) -> Iterator[Sequence[Version]]:
        """Yield the versions of one user after the other: keys come in their order."""
        from tenantry_server.artifacts import s3  # noqa: PLC0415 - boto3 takes half a second

        objects = s3.listed(self._client, self._bucket, self._prefix)
        relative = ((key.removeprefix(self._prefix), size, at_s) for key, size, at_s in objects)
        for folder, of_user in groupby(relative, key=lambda each: each[0].rpartition("/")[0]):
            if _USER.fullmatch(folder):
                yield _versions(folder, [(key.rpartition("/")[2], size, at) for key, size, at in of_user])

    def is_itself(self, version: Version) -> bool:
        """GET and hash the object."""
        from tenantry_server.artifacts import s3  # noqa: PLC0415 - as above

        digest = s3.sha256_of(self._client, self.uri(version))
        return digest is not None and version.stem.endswith(digest[:12])

    def delete(self, version: Version) -> None:
        """Delete what lies beside it, and then the artifact."""
        from tenantry_server.artifacts import s3  # noqa: PLC0415 - as above

        uri = self.uri(version)
        for name in version.beside:
            s3.delete(self._client, uri + name.removeprefix(version.name))
        s3.delete(self._client, uri)

    def uri(self, version: Version) -> str:
        """Return its URI."""
        return f"s3://{self._bucket}/{self._prefix}{version.folder}/{version.name}"
