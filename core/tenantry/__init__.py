"""The vocabulary that both sides of Tenantry share: models, manifests, errors, placement, registry.

Imports no web framework, no cloud client and no Kubernetes client.
"""

from tenantry.errors import TenantryError
from tenantry.forecaster import Forecaster
from tenantry.model import Model
from tenantry.model_id import ModelId
from tenantry.spec import TenantModel

__version__ = "0.1.0"

__all__ = ["Forecaster", "Model", "ModelId", "TenantModel", "TenantryError", "__version__"]
