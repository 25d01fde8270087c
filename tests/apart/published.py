"""The models that a training job has just published, without a registry between."""

from tenantry_server import ModelInfoRepository


class Published(ModelInfoRepository):
    """Users and the ids of their models."""

    def __init__(self, model_ids: dict[str, str]) -> None:
        self.model_ids = model_ids

    def get_model_id_by_user_id(self, user_id: str) -> str:
        return self.model_ids[user_id]
