"""Signatures on the disk, for the time when their store does not answer."""

import hashlib
from typing import Protocol

from tenantry import ModelId
from tenantry.errors import ArtifactUnavailable
from tenantry_server.artifacts.repositories import ArtifactRepository


class Disk(Protocol):
    """Of the disk cache, what is used here."""

    def read(self, key: str) -> bytes | None:
        """Return what was kept; None: nothing."""

    def keep(self, key: str, data: bytes) -> None:
        """Write it soon."""


def signature_of(model_id: ModelId, source: ArtifactRepository, disk: Disk, key: str | None) -> bytes:
    """Return an artifact's signature from its store; where that does not answer, the first that was kept.

    So models on the disk can be loaded without the store. Whatever is returned is verified by the caller:
    one that was replaced since can only be refused.

    Args:
        key: of the artifact on the disk; None: it pins no exact bytes.

    Raises:
        ArtifactError: the store does not have it, or does not answer and none was kept.
    """
    kept = None if key is None else hashlib.sha256(f"signature of {key}".encode()).hexdigest()
    try:
        signature = source.read_signature(model_id)
    except ArtifactUnavailable:
        before = None if kept is None else disk.read(kept)
        if before is None:
            raise
        return before
    if kept is not None:
        disk.keep(kept, signature)
    return signature
