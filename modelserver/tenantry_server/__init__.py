"""Tenantry's model server: repositories, cache, and the aiohttp application put together from them.

A name is imported when it is first asked for: importing scikit-learn takes over a second, and a
setting or a document can be read without it.
"""

from typing import TYPE_CHECKING

from tenantry.lazy_names import lazily

if TYPE_CHECKING:
    from tenantry import Model
    from tenantry_server.app import make_app
    from tenantry_server.artifacts.repositories import FileSystemModelRepository, ModelRepository
    from tenantry_server.artifacts.s3 import S3ModelRepository
    from tenantry_server.assignments.model_info import ModelInfoRepository, SQLAlchemyModelInfoRepository
    from tenantry_server.formats.sklearn.reader import SklearnModel
    from tenantry_server.formats.tensorflow.reader import TensorFlowModel
    from tenantry_server.memory.eviction import bounded_cache
    from tenantry_server.memory.model_cache import CachedModelRepository
    from tenantry_server.publishing import publish, publish_many

__all__ = [
    "CachedModelRepository",
    "FileSystemModelRepository",
    "Model",
    "ModelInfoRepository",
    "ModelRepository",
    "S3ModelRepository",
    "SQLAlchemyModelInfoRepository",
    "SklearnModel",
    "TensorFlowModel",
    "bounded_cache",
    "make_app",
    "publish",
    "publish_many",
]

_HOMES = {
    "CachedModelRepository": "tenantry_server.memory.model_cache",
    "FileSystemModelRepository": "tenantry_server.artifacts.repositories",
    "Model": "tenantry",
    "ModelInfoRepository": "tenantry_server.assignments.model_info",
    "ModelRepository": "tenantry_server.artifacts.repositories",
    "S3ModelRepository": "tenantry_server.artifacts.s3",
    "SQLAlchemyModelInfoRepository": "tenantry_server.assignments.model_info",
    "SklearnModel": "tenantry_server.formats.sklearn.reader",
    "TensorFlowModel": "tenantry_server.formats.tensorflow.reader",
    "bounded_cache": "tenantry_server.memory.eviction",
    "make_app": "tenantry_server.app",
    "publish": "tenantry_server.publishing",
    "publish_many": "tenantry_server.publishing",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
