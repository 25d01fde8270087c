"""A store whose client is made when the first artifact of it is asked for."""

from collections.abc import Callable

from tenantry import ModelId
from tenantry.processes.once import once
from tenantry_server.artifacts.repositories import ArtifactRepository


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
