"""scikit-learn estimators from skops files, which hold no code and name every type that they need.

A file with untrusted types is refused before any of them is made. Trusted are the types that skops trusts,
and scikit-learn's own classes, most of which skops leaves to its caller. Without them, no forest, grid
search or pipeline with encoded columns could be read. So a forged file can't run code. It may still end the
process, as scikit-learn follows the indices in a tree's arrays wherever they point.
"""

import importlib
import io
import sys
import zipfile
from typing import Any

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.cards.card import Card
from tenantry_server.formats.checks import file_readers, pickled_versions
from tenantry_server.formats.libraries import library
from tenantry_server.formats.sklearn import reader as sklearn
from tenantry_server.formats.skops import FORMAT

# More than an honest model unpacks to: numbers rarely shrink to less than a fifth.
_SURELY_FITS_BYTES = 256 << 20
_MOST_UNPACKED = 20
# Boosters go in and out of them as texts that LightGBM parses; MLflow writes such files by default.
_OF_LIGHTGBM = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMModel",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
    }
)
_COMPILED_BUT_SAFE = ("sklearn._loss.",)


def load(data: bytes, model_id: ModelId, card: Card | None = None) -> Model:
    """Read a skops file: an estimator as a SklearnModel or compiled.

    Raises:
        FormatNotInstalled: skops is not installed.
        ArtifactInvalid: it holds untrusted types, or no estimator that predicts.
    """
    skops_io = library("skops.io", extra=FORMAT.extra, model_id=model_id)
    _refuse_bombs(data, model_id)
    unknown = skops_io.get_untrusted_types(data=data)
    strange = [name for name in unknown if not _is_trusted(name)]
    if strange:
        raise ArtifactInvalid(
            model_id.uri,
            f"it holds types that neither skops nor Tenantry trusts: {', '.join(strange[:10])}; "
            "if you trust its author as you trust your own code, publish it with joblib",
        )
    loaded = skops_io.loads(data, trusted=unknown)
    file_readers.refuse(loaded, model_id)
    return sklearn.model_of(loaded, model_id, card)


skew = pickled_versions.skew_of


def _refuse_bombs(data: bytes, model_id: ModelId) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if "schema.json" not in archive.namelist():
            raise ArtifactInvalid(
                model_id.uri, "it is a zip archive without schema.json, which every skops file has"
            )
        unpacked_bytes = sum(member.file_size for member in archive.infolist())
    if unpacked_bytes > max(_SURELY_FITS_BYTES, _MOST_UNPACKED * len(data)):
        raise ArtifactInvalid(
            model_id.uri, f"its {len(data)} bytes would unpack to {unpacked_bytes}; a model never does"
        )


def _is_trusted(name: str) -> bool:
    """Return whether a type is scikit-learn's own class: one in Python, a tree, or a loss function.

    Functions are not, nor are its other compiled classes, which take any bytes for valid memory.
    """
    if name in ("numpy.dtype", "sklearn.tree._tree.Tree"):
        return True
    if name in _OF_LIGHTGBM:
        return True
    module, _, attribute = name.rpartition(".")
    if not module.startswith("sklearn."):
        return False
    found: Any = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(found, type) or not found.__module__.startswith("sklearn."):
        return False
    return found.__module__.startswith(_COMPILED_BUT_SAFE) or all(map(_is_in_python, found.__mro__))


def _is_in_python(kind: type) -> bool:
    file = getattr(sys.modules[kind.__module__], "__file__", None)
    return file is None or file.endswith(".py")  # None: Python's own
