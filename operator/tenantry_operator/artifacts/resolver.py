"""From a declared source to the id of exact bytes: what stands under its name just now."""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from tenantry.errors import ArtifactAccessDenied, ArtifactInvalid, ArtifactNotFound, ArtifactUnavailable
from tenantry.model_id import ModelId
from tenantry.spec import ModelSource

Resolve = Callable[[ModelSource], ModelId]
"""Raises ArtifactError where the bytes can't be named."""


class Resolver:
    """Chooses by scheme: files are looked up here, S3 objects by the given function.

    Args:
        s3: for ``s3://`` sources.
    """

    def __init__(self, s3: Resolve) -> None:
        self._s3 = s3

    def __call__(self, source: ModelSource) -> ModelId:
        """Return the id of the bytes that stand under the declared name now.

        Raises:
            ArtifactError: there are none, or they can't be looked up.
        """
        return self._s3(source) if source.uri.startswith("s3://") else _file(source)


def _file(source: ModelSource) -> ModelId:
    path = Path(unquote(source.uri.removeprefix("file://")))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ArtifactInvalid(source.uri, "it is a folder")
        if not stat.S_ISREG(mode):  # a pipe or a device would be read forever
            raise ArtifactInvalid(source.uri, "it is not a regular file")
        if source.sha256:
            return source.pinned()  # the server checks the digest when it reads the file anyway
        with path.open("rb") as file:
            return source.pinned(sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactNotFound(source.uri) from None
    except PermissionError:
        raise ArtifactAccessDenied(source.uri) from None
    except OSError as error:
        raise ArtifactUnavailable(source.uri, str(error)) from error
    except ValueError as error:  # %00
        raise ArtifactInvalid(source.uri, f"it can't be a path: {error}") from error
