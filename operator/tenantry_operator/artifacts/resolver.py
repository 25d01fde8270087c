"""From a declared source to the id of exact bytes: what stands under its name just now."""

import hashlib
import os
import time
from collections.abc import Callable

from tenantry.errors import ArtifactTooLarge, ArtifactUnavailable
from tenantry.manifest.spec import ModelSource
from tenantry.model_id import ModelId
from tenantry.stores.file_roots import FileRoots

Resolve = Callable[[ModelSource], ModelId]
"""Raises ArtifactError where the bytes can't be named."""

_PIECE_BYTES = 1 << 20


class Resolver:
    """Chooses by scheme: files are looked up here, S3 objects by the given function.

    Args:
        s3: for ``s3://`` sources.
        roots: where files may lie.
        max_bytes: of one file.
        timeout_s: for one file to be hashed.
    """

    def __init__(
        self,
        s3: Resolve,
        roots: FileRoots,
        *,
        max_bytes: int = 1 << 30,
        timeout_s: float = 30.0,
    ) -> None:
        self._s3 = s3
        self._roots = roots
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    def __call__(self, source: ModelSource) -> ModelId:
        """Return the id of the bytes that stand under the declared name now.

        Raises:
            ArtifactError: there are none, or they can't be looked up.
        """
        if source.card is not None and not source.card.uri.startswith("s3://"):
            with self._roots.open(source.card.uri):  # a server reads it, and checks its digest
                pass
        return self._s3(source) if source.uri.startswith("s3://") else self._file(source)

    def _file(self, source: ModelSource) -> ModelId:
        until_s = time.monotonic() + self._timeout_s
        with self._roots.open(source.uri) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > self._max_bytes:
                raise ArtifactTooLarge(source.uri, size_bytes, self._max_bytes)
            if source.sha256:
                return source.pinned()  # the server checks the digest when it reads the file anyway
            digest, left_bytes = hashlib.sha256(), size_bytes
            # No further than the size: some files of the kernel have none, and no end.
            while left_bytes > 0 and (piece := file.read(min(left_bytes, _PIECE_BYTES))):
                digest.update(piece)
                left_bytes -= len(piece)
                if time.monotonic() > until_s:
                    raise ArtifactUnavailable(source.uri, f"not read within {self._timeout_s:g} s")
            if left_bytes or file.read(1):
                raise ArtifactUnavailable(source.uri, "the file changed while it was read")
            return source.pinned(sha256=digest.hexdigest())
