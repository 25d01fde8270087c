"""Tenantry's model server: repositories, cache, and the aiohttp application put together from them."""

from tenantry import Model
from tenantry_server.app import make_app
from tenantry_server.cache import CachedModelRepository
from tenantry_server.formats.sklearn import SklearnModel
from tenantry_server.formats.tensorflow import TensorFlowModel
from tenantry_server.model_info import ModelInfoRepository, SQLAlchemyModelInfoRepository
from tenantry_server.policies import bounded_cache
from tenantry_server.publishing import publish
from tenantry_server.repositories import FileSystemModelRepository, ModelRepository
from tenantry_server.s3 import S3ModelRepository

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
]
