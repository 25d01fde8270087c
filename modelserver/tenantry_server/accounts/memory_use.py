"""The bytes in memory of each tenant's model, as the model cache measured them."""

from collections import Counter
from collections.abc import Callable, Mapping

from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.memory.model_cache import CachedModelRepository

Sizes = Callable[[], Mapping[str, int]]
"""Returns user id -> bytes of those whose model is in memory here, near copies included.

Call it in a thread. A model that several tenants share counts for each of them.
"""


def sizes_of(users: ModelInfoRepository, models: object) -> Sizes:
    """Return what reads the sizes: 0.1 s for a hundred thousand tenants.

    Args:
        models: nothing is in memory but of a CachedModelRepository.
    """
    if not isinstance(models, CachedModelRepository):
        return dict

    def sizes() -> Mapping[str, int]:
        found = {}
        for user_id, model_id in users.assigned().items():
            resident = None if model_id is None else models.glance(model_id)
            if resident is not None:
                found[user_id] = resident.size_bytes
        return found

    return sizes


def shares_of(
    users: ModelInfoRepository, models: CachedModelRepository
) -> Callable[[], Mapping[str, float]]:
    """Return what reads the same for costs: tenants that share a model share its bytes, too."""
    sizes = sizes_of(users, models)

    def shares() -> Mapping[str, float]:
        held = sizes()
        model_ids = {user_id: model_id for user_id, model_id in users.assigned().items() if user_id in held}
        sharing = Counter(model_ids.values())
        return {user_id: held[user_id] / sharing[model_id] for user_id, model_id in model_ids.items()}

    return shares
