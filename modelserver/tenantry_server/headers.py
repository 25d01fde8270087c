"""The headers of our own that answers carry."""

from urllib.parse import quote

MODEL_ID = "Tenantry-Model-Id"
SERVER = "Tenantry-Server"
REGISTRY_AGE = "Tenantry-Registry-Age"


def value_of(model_id: str) -> str:
    """A model id as a header's value: itself, unless a line break or its like would end the header."""
    return model_id if model_id.isprintable() else quote(model_id, safe=":/?#=&")
