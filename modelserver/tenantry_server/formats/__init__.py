"""From the bytes of an artifact to a Model: one module for each format, listed only here.

Deserialising a pickle or a joblib file runs code that its author chose. Load artifacts only from
stores whose writers you trust as you trust your own code; a sha256 pin proves which bytes they are.
"""

import importlib
import io
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, UnknownFormat


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of artifact; the module of its name is imported when the first one is read.

    Attributes:
        name: as in ``spec.model.format``.
        suffixes: of artifacts that need no explicit format.
        dumps: whether the module also has ``dump(model)``, which returns the bytes of its library's own
            objects, and None for others. Its ``load(data, model_id)`` makes a Model of the bytes; any
            exception means that they are unusable.
        heavy: whether its library takes long to import, or much memory.
    """

    name: str
    suffixes: tuple[str, ...]
    dumps: bool = False
    heavy: bool = False

    @property
    def module(self) -> ModuleType:
        """The module that reads it."""
        return importlib.import_module(f"{__name__}.{self.name}")


FORMATS: tuple[Format, ...] = (
    Format("sklearn", (".joblib", ".pkl", ".pickle")),
    Format("skops", (".skops",)),
    Format("onnx", (".onnx",), dumps=True, heavy=True),
    Format("xgboost", (".ubj", ".json"), dumps=True, heavy=True),
    Format("lightgbm", (".txt",), dumps=True, heavy=True),
    Format("python", (".toml",)),
    Format("tensorflow", (".keras", ".zip"), dumps=True, heavy=True),
)


def load_model(data: bytes, model_id: ModelId) -> Model:
    """Make a model of an artifact whose digest was already checked.

    Raises:
        UnknownFormat: no loader for its format or suffix.
        ArtifactInvalid: the loader can't read it, or it can't predict.
    """
    chosen = format_of(model_id)
    try:
        loaded: Model = chosen.module.load(data, model_id)
    except ArtifactInvalid:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a pickle runs code, and sys.exit() in it must not end the server
        problem = f"{chosen.name} loader: {type(error).__name__}: {error}"
        raise ArtifactInvalid(model_id.uri, problem) from error
    return loaded


def dump_model(model: Any) -> tuple[bytes, str]:
    """Return the artifact of an object and its suffix: in its library's format, or else with joblib."""
    for known in FORMATS:
        data = known.module.dump(model) if known.dumps else None
        if data is not None:
            return data, known.suffixes[0]
    import joblib  # noqa: PLC0415 - a server's own process reads no artifact

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue(), ".joblib"


def format_of(model_id: ModelId) -> Format:
    """Return the format that an id names, or that its suffix stands for.

    Raises:
        UnknownFormat: there is no such format.
    """
    suffix = PurePosixPath(model_id.uri).suffix.lower()
    for known in FORMATS:
        if known.name == model_id.format or (model_id.format is None and suffix in known.suffixes):
            return known
    seen = f"format {model_id.format!r}" if model_id.format else f"suffix {suffix or '(none)'!r}"
    names = ", ".join(f"{known.name} ({' '.join(known.suffixes)})" for known in FORMATS)
    raise UnknownFormat(model_id.uri, seen, names)
