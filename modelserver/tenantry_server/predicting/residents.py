"""What loads models into memory, one or several in a call; used in threads."""

from collections.abc import Sequence

from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.scoring import surroundings


class Residents:
    """Loads models from a repository, whether it keeps them or not.

    Args:
        models: where they come from.
    """

    def __init__(self, models: ModelRepository) -> None:
        self._models = models

    def one(self, model_id: str) -> Resident:
        """Load a model.

        Raises:
            ArtifactError, ModelTooLarge: it can't be loaded.
        """
        models = self._models
        if isinstance(models, CachedModelRepository):
            return surroundings.kept(lambda: models.get_resident(model_id))
        return Resident(surroundings.kept(lambda: models.get_model(model_id)), 0)

    def together(self, model_ids: Sequence[str]) -> Sequence[Resident | None]:
        """Load small models together; None for each that has to be loaded by `one`."""
        if not isinstance(self._models, CachedModelRepository):
            return [None] * len(model_ids)
        return self._models.get_residents(model_ids)
