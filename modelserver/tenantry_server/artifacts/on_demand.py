"""A store whose client is made when the first artifact of it is asked for: that of S3."""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from tenantry import ModelId
from tenantry.processes.once import once
from tenantry_server.artifacts.repositories import ArtifactRepository

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SAYS_NOTHING = {"AWS_CA_BUNDLE"}  # machines behind a proxy have it, whatever they read


class StoreOnDemand(ArtifactRepository):
    """Reads as the store does that `make` returns; safe to use from threads.

    Args:
        make: called by the first read, and again by the next one where it raised.

    Attributes:
        made: returns the store, and makes it where it is not made yet.
    """

    def __init__(self, make: Callable[[], ArtifactRepository]) -> None:
        self.made = once(make)

    def read(self, model_id: ModelId) -> bytes:
        """As the store does."""
        return self.made().read(model_id)


def s3_store(endpoint_url: str | None, *, max_bytes: int) -> ArtifactRepository:
    """Return the store of S3, made at once where the surroundings speak of S3.

    Elsewhere, as on a laptop that reads a folder, boto3 would take an eighth of the start for nothing.

    Args:
        endpoint_url: of an S3 server; None: as boto3 finds it.
        max_bytes: of one artifact.
    """

    def make() -> ArtifactRepository:
        from tenantry_server.artifacts.s3 import S3ModelRepository  # noqa: PLC0415 - as said above

        return S3ModelRepository(_client(endpoint_url, _aws()), max_bytes=max_bytes)

    store = StoreOnDemand(make)
    if endpoint_url or any(name not in _SAYS_NOTHING for name, _ in _aws()):
        store.made()
    return store


def _aws() -> Sequence[tuple[str, str]]:
    return tuple(sorted(each for each in os.environ.items() if each[0].startswith("AWS_")))


@cache
def _client(endpoint_url: str | None, _environment: Sequence[tuple[str, str]]) -> "S3Client":
    """Return the client for these surroundings; it may be used from any thread."""
    from tenantry_server.artifacts.s3 import make_client  # noqa: PLC0415 - as said above

    return make_client(endpoint_url)
