"""The choice of a repository by the scheme of a model id."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.artifacts.repositories import ModelRepository


class ModelRepositoryByScheme(ModelRepository):
    """Passes each id on to the repository for its scheme.

    Args:
        by_scheme: such as ``{"file": FileSystemModelRepository(), "s3": S3ModelRepository(…)}``.
    """

    def __init__(self, by_scheme: Mapping[str, ModelRepository]) -> None:
        self._by_scheme = by_scheme

    def get_model(self, model_id: str) -> Model:
        """Ask the repository for the id's scheme."""
        return self._chosen(model_id).get_model(model_id)

    def get_models(self, model_ids: Sequence[str]) -> Sequence[Model | None]:
        """Ask the repository for each scheme for those of its own."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, model_id in enumerate(model_ids):
            places[ModelId.parse(model_id).scheme].append(place)
        found: list[Model | None] = [None] * len(model_ids)
        for scheme, theirs in places.items():
            if scheme in self._by_scheme:
                models = self._by_scheme[scheme].get_models([model_ids[place] for place in theirs])
                for place, model in zip(theirs, models, strict=True):
                    found[place] = model
        return found

    def get_card(self, model_id: str) -> bytes | None:
        """Ask the repository for the id's scheme."""
        return self._chosen(model_id).get_card(model_id)

    def _chosen(self, model_id: str) -> ModelRepository:
        exact = ModelId.parse(model_id)
        chosen = self._by_scheme.get(exact.scheme)
        if chosen is None:
            known = ", ".join(f"{scheme}://" for scheme in self._by_scheme)
            raise ArtifactInvalid(exact.uri, f"no repository for it; this server reads {known}")
        return chosen
