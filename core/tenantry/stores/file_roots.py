"""Artifacts in files: opened only below the folders that are allowed, and only if they are regular files.

Owns the one table from the errors of a file system to those of artifacts. Refuses to read a whole file:
its caller knows how much it may take.
"""

import fcntl
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactInvalid,
    ArtifactNotFound,
    ArtifactOutsideRoots,
    ArtifactUnavailable,
)

# Nothing may wait for the other end of a pipe, and no terminal may become this process's own.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class FileRoots:
    """The folders that ``file://`` artifacts may lie in.

    Args:
        roots: absolute folders; none of them has to exist yet. None: a file may lie anywhere.

    Example:
        >>> roots = FileRoots.parse("/srv/models:/mnt/models")
        >>> str(roots)
        '/srv/models, /mnt/models'
        >>> with roots.open("file:///etc/passwd"):
        ...     pass
        Traceback (most recent call last):
        tenantry.errors.artifacts.ArtifactOutsideRoots: file:///etc/passwd is not below a folder ...
    """

    def __init__(self, roots: Sequence[Path] | None = None) -> None:
        self._roots = None if roots is None else [Path(os.path.abspath(root)) for root in roots]  # noqa: PTH100 - a link stays one

    @classmethod
    def parse(cls, text: str) -> "FileRoots":
        """Read the value of a setting: folders with ``:`` between them, as in PATH."""
        return cls([Path(each) for each in text.split(os.pathsep) if each])

    def __str__(self) -> str:
        if self._roots is None:
            return "any folder"
        return ", ".join(map(str, self._roots)) or "none"

    @contextmanager
    def open(self, uri: str) -> Iterator[BinaryIO]:
        """Open the file of a ``file://`` URI to read it.

        Links are followed, as long as they lead to a file below a root. Whether a file outside exists makes
        no difference to what is raised.

        Raises:
            ArtifactOutsideRoots: it does not lie below any root.
            ArtifactNotFound, ArtifactAccessDenied, ArtifactUnavailable: as the file system says.
            ArtifactInvalid: it is not a regular file, or no path at all.
        """
        path = unquote(uri.removeprefix("file://"))
        with _explained(uri):
            if self._roots is not None:
                self._check(uri, os.path.abspath(path))  # noqa: PTH100 - before the disk is asked anything
                self._check(uri, os.path.realpath(path))
            descriptor = os.open(path, _FLAGS)
            try:
                _check_regular(uri, os.fstat(descriptor).st_mode)
                if self._roots is not None:  # somebody may have put a link in the way since
                    self._check(uri, _path_of(descriptor))
                with open(descriptor, "rb", closefd=False) as file:
                    yield file
            finally:
                os.close(descriptor)

    def _check(self, uri: str, path: str) -> None:
        if self._roots is None:
            return
        real = [Path(os.path.realpath(root)) for root in self._roots]
        if not any(Path(path).is_relative_to(root) for root in (*self._roots, *real)):
            raise ArtifactOutsideRoots(uri, str(self))


ANYWHERE = FileRoots()


def _check_regular(uri: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ArtifactInvalid(uri, "it is a folder")
    if not stat.S_ISREG(mode):  # a pipe or a device would be read forever
        raise ArtifactInvalid(uri, "it is not a regular file")


def _path_of(descriptor: int) -> str:
    """Return where an open file lies, without links."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - not a path on the disk


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactNotFound(uri) from None
    except PermissionError:
        raise ArtifactAccessDenied(uri) from None
    except IsADirectoryError:
        raise ArtifactInvalid(uri, "it is a folder") from None
    except OSError as error:
        raise ArtifactUnavailable(uri, error.strerror or str(error)) from error
    except ValueError as error:  # %00
        raise ArtifactInvalid(uri, f"it can't be a path: {error}") from error
