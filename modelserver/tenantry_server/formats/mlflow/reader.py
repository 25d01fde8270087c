"""MLflow model folders, as zip archives: the file that MLmodel names, by the reader of its format.

MLflow is needed for the flavour python_function alone, and ``mlflow-skinny`` is enough. What runs the code
of other flavours runs that of this one: trust its author as that of a pickle.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from tenantry import Forecaster, Model, ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry.model import Predictions
from tenantry.model_id import DEFAULT_METHOD
from tenantry_server import formats
from tenantry_server.cards.card import Card, Form
from tenantry_server.formats import adapters, known
from tenantry_server.formats.checks.pickled_versions import Skew
from tenantry_server.formats.checks.trial import try_once
from tenantry_server.formats.mlflow import FORMAT
from tenantry_server.formats.mlflow.folder import PYTHON_FUNCTION, Folder
from tenantry_server.scoring import results

_PICKLED = {".pkl": "sklearn", ".pickle": "sklearn", ".joblib": "sklearn", ".skops": "skops"}


class PyfuncModel(Model):
    """A python_function of MLflow as a Model.

    Args:
        folder: where its files are; kept as long as the model, which may read them at any time.
        path: of the model in that folder.
        form: what it is given: a DataFrame, or a matrix where its signature is of one.
        code_digest: of the modules that it brings; empty: none.
    """

    def __init__(
        self, folder: "TemporaryDirectory[str]", path: Path, form: Form, code_digest: str = ""
    ) -> None:
        from mlflow import pyfunc  # noqa: PLC0415 - an extra

        self._folder = folder
        self._form = form
        self._function = pyfunc.load_model(str(path))
        self.own_code = code_digest

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Ask the function."""
        return results.as_array(
            self._function.predict(data.to_numpy() if self._form is Form.ARRAY else data)
        )


def load(data: bytes, model_id: ModelId, card: Card | None = None) -> Model:
    """Read an MLflow model folder.

    Raises:
        ArtifactInvalid: it is not one, or its model can't be served.
        FormatNotInstalled: the library of its flavour is missing, or for a python_function MLflow.
    """
    with _refused(model_id):
        folder = Folder(data)
    if folder.flavor == PYTHON_FUNCTION:
        return _function(folder, model_id, card)
    with _refused(model_id):
        name = folder.model_file
        inside = folder.read(name)
    if folder.flavor == "prophet":
        return _prophet(inside, model_id)
    given = card or folder.card(model_id.method or DEFAULT_METHOD)
    exact = replace(model_id, format=_format_of(folder, name, model_id))
    try:
        model = formats.loaded(inside, exact, None if folder.flavor == "statsmodels" else given)
    except ArtifactInvalid as error:
        problem = f"its {folder.flavor} model {name}: {error.problem}"
        raise ArtifactInvalid(model_id.uri, problem) from error
    if card is None and given is not None and not isinstance(model, Forecaster):
        try_once(model, model_id.method or DEFAULT_METHOD, model_id)
    return model


def inside(data: bytes) -> tuple[bytes, str]:
    """Return the file that holds the model, and the name of its format; nothing where no format reads it.

    Raises:
        ValueError: it is not an MLflow model folder.
    """
    folder = Folder(data)
    if folder.flavor in (PYTHON_FUNCTION, "prophet"):
        return b"", ""
    return folder.read(folder.model_file), _format_of(folder, folder.model_file, None)


def skew(data: bytes) -> Skew | None:
    """Return how the library that wrote the file inside differs from the one here; None: it does not."""
    try:
        data, name = inside(data)
    except (ValueError, KeyError):  # which loading it says in words
        return None
    return known.skew_of(name, data)


def example(data: bytes, model_id: ModelId) -> Any:
    """Return the input example that the folder holds, for its card; None: there is none, or it forecasts.

    Raises:
        ArtifactInvalid: it is not an MLflow model folder, or its example can't be read.
    """
    with _refused(model_id):
        folder = Folder(data)
        rows = None if folder.flavor == "prophet" else folder.example()
    if rows is None or folder.flavor != "statsmodels":
        return rows
    model: Any = load(data, model_id)  # whether it is of a series, only the file itself says
    if isinstance(model, Forecaster):
        return None
    names = model.feature_names
    if names is None or not isinstance(rows, pd.DataFrame) or not set(names) <= set(rows.columns):
        return rows
    return rows[list(names)]  # without the constant, which is put in here


def _format_of(folder: Folder, name: str, model_id: ModelId | None) -> str:
    """Return the format of the file that holds the model."""
    flavor = folder.flavor
    pickled = _PICKLED.get(Path(name).suffix.lower(), "sklearn")
    if flavor == "statsmodels" or (flavor == "lightgbm" and Path(name).suffix.lower() in _PICKLED):
        return pickled
    written = folder.setting("save_format") or "cbm"
    if flavor == "catboost" and written != "cbm" and model_id is not None:
        problem = f"CatBoost wrote it as {written}; log it without format=, as cbm"
        raise ArtifactInvalid(model_id.uri, problem)
    return pickled if flavor == "sklearn" else flavor


def _prophet(written: bytes, model_id: ModelId) -> Model:
    try:
        from prophet import serialize  # noqa: PLC0415 - no extra of ours
    except ImportError as error:
        problem = f"it needs the Python module 'prophet', which can't be imported here ({error})"
        raise ArtifactInvalid(model_id.uri, f"{problem}; install it on the servers") from error
    try:
        fitted = serialize.model_from_json(json.loads(written))
    except Exception as error:  # of whatever stands in a damaged file
        problem = f"its prophet model can't be read: {type(error).__name__}: {error}"
        raise ArtifactInvalid(model_id.uri, problem) from error
    model = adapters.adapted(fitted, model_id)
    if model is None:
        raise ArtifactInvalid(model_id.uri, f"its prophet model is a {type(fitted).__name__}")
    return model


def _function(folder: Folder, model_id: ModelId, card: Card | None) -> Model:
    if model_id.methods != (DEFAULT_METHOD,):
        problem = f"a python_function has no method {model_id.method}; remove spec.model.method"
        raise ArtifactInvalid(model_id.uri, problem)
    with _refused(model_id):
        folder.check_paths()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a worker calls nobody
    try:
        import mlflow.pyfunc  # noqa: F401, PLC0415 - an extra
    except (ImportError, OSError) as error:
        raise FormatNotInstalled(model_id.uri, "MLflow", FORMAT.extra, str(error)) from error
    kept = TemporaryDirectory(prefix="tenantry-")
    with _refused(model_id):
        folder.archive.extract(kept.name)
    described = card or folder.card(DEFAULT_METHOD)
    form = Form.FRAME if described is None else described.form
    try:
        model = PyfuncModel(kept, Path(kept.name, folder.root), form, _digest(folder))
    except Exception as error:  # the code of its author, and whatever that imports
        problem = f"MLflow can't load its python_function: {type(error).__name__}: {error}"
        raise ArtifactInvalid(model_id.uri, problem[:2000]) from error
    if described is not None:
        model.feature_names = described.names
        model.feature_count = len(described.columns)
        model.column_types = described.columns
    if card is None:
        try_once(model, DEFAULT_METHOD, model_id)
    return model


def _digest(folder: Folder) -> str:
    """Return a digest of the modules that the folder brings; empty: none."""
    code = folder.setting("code")
    if not code:
        return ""
    digest = hashlib.sha256()
    for name in sorted(folder.archive.names):
        if (folder.root / code).as_posix() in name:
            digest.update(name.encode() + b"\0" + folder.archive.read(name) + b"\0")
    return digest.hexdigest()[:12]


@contextmanager
def _refused(model_id: ModelId) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError) as error:
        raise ArtifactInvalid(model_id.uri, str(error)) from error
