"""CatBoost models from the .cbm files that CatBoost itself saves; read against catboost 1.2."""

import struct

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import adapters
from tenantry_server.formats.catboost import FORMAT
from tenantry_server.formats.libraries import library

_MAGIC = b"CBM1"
_SIZE = struct.Struct("<I")  # of the trees, which stand behind it


def load(data: bytes, model_id: ModelId) -> Model:
    """Read a .cbm file.

    Raises:
        FormatNotInstalled: CatBoost is not installed.
        ArtifactInvalid: the file is cut off or not a model, or lacks the method.
    """
    catboost = library("catboost", extra=FORMAT.extra, model_id=model_id)
    if not data.startswith(_MAGIC):
        raise ArtifactInvalid(model_id.uri, f"it is not a CatBoost model (first bytes: {data[:16]!r})")
    if len(data) < (needed := _least_bytes(data)):
        raise ArtifactInvalid(model_id.uri, f"it is cut off: {len(data)} bytes of at least {needed}")
    try:
        fitted = catboost.CatBoost().load_model(blob=data)
        if len(fitted.classes_):
            fitted = catboost.CatBoostClassifier().load_model(blob=data)
    except catboost.CatBoostError as error:
        raise ArtifactInvalid(model_id.uri, f"CatBoost can't read it: {error}") from error
    model = adapters.adapted(fitted, model_id)
    if model is None:
        raise ArtifactInvalid(model_id.uri, f"it holds a {type(fitted).__name__}")
    return model


def _least_bytes(data: bytes) -> int:
    """Return how long a file that begins like this is at least.

    CatBoost itself takes some that are cut off for whole.
    """
    header = len(_MAGIC) + _SIZE.size
    return header + int(_SIZE.unpack_from(data, len(_MAGIC))[0]) if len(data) >= header else header
