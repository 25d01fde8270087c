"""From the bytes of an artifact to a Model: one module for each format, listed only here.

Deserialising a pickle or a joblib file runs code that its author chose. Load artifacts only from
stores whose writers you trust as you trust your own code; a sha256 pin proves which bytes they are.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import joblib

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, UnknownFormat
from tenantry_server.formats import (
    lightgbm,
    onnx,
    python,
    sklearn,
    skops,
    tensorflow,
    xgboost,
)

Loader = Callable[[bytes, ModelId], Model]
Dumper = Callable[[Any], bytes | None]


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of artifact is read.

    Attributes:
        name: as in ``spec.model.format``.
        suffixes: of artifacts that need no explicit format.
        load: makes a Model of the bytes; any exception means that they are unusable.
        dump: returns the bytes of the library's own objects, which get the first suffix; None for others.
    """

    name: str
    suffixes: tuple[str, ...]
    load: Loader
    dump: Dumper | None = None


FORMATS: tuple[Format, ...] = (
    Format("sklearn", (".joblib", ".pkl", ".pickle"), sklearn.load),
    Format("skops", (".skops",), skops.load),
    Format("onnx", (".onnx",), onnx.load, onnx.dump),
    Format("xgboost", (".ubj", ".json"), xgboost.load, xgboost.dump),
    Format("lightgbm", (".txt",), lightgbm.load, lightgbm.dump),
    Format("python", (".toml",), python.load),
    Format("tensorflow", (".keras", ".zip"), tensorflow.load, tensorflow.dump),
)


def load_model(data: bytes, model_id: ModelId) -> Model:
    """Make a model of an artifact whose digest was already checked.

    Raises:
        UnknownFormat: no loader for its format or suffix.
        ArtifactInvalid: the loader can't read it, or it can't predict.
    """
    chosen = format_of(model_id)
    try:
        return chosen.load(data, model_id)
    except ArtifactInvalid:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a pickle runs code, and sys.exit() in it must not end the server
        problem = f"{chosen.name} loader: {type(error).__name__}: {error}"
        raise ArtifactInvalid(model_id.uri, problem) from error


def dump_model(model: Any) -> tuple[bytes, str]:
    """Return the artifact of an object and its suffix: in its library's format, or else with joblib."""
    for known in FORMATS:
        data = None if known.dump is None else known.dump(model)
        if data is not None:
            return data, known.suffixes[0]
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
