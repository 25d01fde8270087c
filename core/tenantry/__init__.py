"""The vocabulary that both sides of Tenantry share: models, manifests, errors, placement, registry.

Imports no web framework, no cloud client and no Kubernetes client. A public name is imported when it is
first used: a program that asks for predictions does without what reads manifests, which takes a second.
"""

from typing import TYPE_CHECKING

from tenantry.errors import TenantryError
from tenantry.lazy_names import lazily

if TYPE_CHECKING:
    from tenantry.client import AsyncClient, Client
    from tenantry.forecaster import Forecaster
    from tenantry.manifest.spec import TenantModel
    from tenantry.model import Model
    from tenantry.model_id import ModelId

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Forecaster",
    "Model",
    "ModelId",
    "TenantModel",
    "TenantryError",
    "__version__",
]

_HOMES = {
    "AsyncClient": "tenantry.client",
    "Client": "tenantry.client",
    "Forecaster": "tenantry.forecaster",
    "Model": "tenantry.model",
    "ModelId": "tenantry.model_id",
    "TenantModel": "tenantry.manifest.spec",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
