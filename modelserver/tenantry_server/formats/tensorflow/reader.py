"""TensorFlow models: ``.keras`` files, and SavedModels as zip archives of their folder.

TensorFlow is imported when the first such model loads, not before. It computes on the CPU with one
thread: a model server is a process for each core, and several would each seize a GPU's whole memory.
A Keras file is read in Keras's safe mode, which refuses Python code stored in the file. A SavedModel
is a program that TensorFlow runs: trust its author as that of a pickle.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry.model import Predictions, Rows
from tenantry_server.formats.checks.archive import Archive
from tenantry_server.formats.checks.trial import try_once
from tenantry_server.formats.tensorflow import FORMAT
from tenantry_server.formats.tensorflow.graph import Graph, Input, of_keras, of_saved_model

# Measured on CPython 3.11 and TensorFlow 2.21: a vocabulary of 6.5 MB in the file makes the process
# grow by 20 MB, for it is parsed, kept, and copied into a hash table.
_GROWTH_OF_CONFIGURATION = 3


class TensorFlowModel(Model):
    """A Keras model, or a loaded SavedModel, as a Model.

    A model with one input of numbers takes its columns by position; an input of more dimensions takes
    them flattened, in C order. A model with several inputs, or with one of text, takes each by name as
    one column. Numbers become what the input declares, float32 as a rule; a missing one is refused,
    because TensorFlow may turn it into an ordinary number (a ReLU makes 0 of NaN).

    Args:
        model: what ``keras.saving.load_model`` or ``tf.saved_model.load`` returned, or a Keras model
            that was just fitted. Of a SavedModel the signature ``serving_default`` is called, or its
            only one.
        configuration_bytes: size of what the model's files hold beside its weights, such as
            vocabularies; counted in `own_bytes`.

    Raises:
        ValueError: its inputs or outputs are not rows in, predictions out; says what they are.

    Example:
        >>> import keras  # doctest: +SKIP
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])  # doctest: +SKIP
        >>> TensorFlowModel(network).predict(pd.DataFrame({"a": [0.0], "b": [0.0]}))  # doctest: +SKIP
        array([0.], dtype=float32)
    """

    independent_rows = True
    may_block = False
    accepts_missing = False

    def __init__(self, model: Any, *, configuration_bytes: int = 0) -> None:
        self._tf = _tensorflow()
        graph = of_saved_model(model) if hasattr(model, "signatures") else of_keras(model)
        self._graph: Graph = graph
        self._own_bytes = graph.size_bytes + _GROWTH_OF_CONFIGURATION * configuration_bytes
        self.numeric = not any(each.is_text for each in graph.inputs)
        if len(graph.inputs) > 1 or not self.numeric:
            self.feature_names = tuple(each.name for each in graph.inputs)
            self.feature_count: int | None = len(graph.inputs)
        else:
            self.feature_count = graph.inputs[0].columns

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Compute the model's output.

        Args:
            data: the columns by name where `feature_names` are stated, else by position.

        Returns:
            shape (n,) where the model gives one column, else (n, outputs), in its own dtype.

        Raises:
            ValueError: a value is not what its input takes.
        """
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        if self.numeric:
            return self.predict_rows(data.to_numpy(dtype=np.float64))
        columns = zip(self._graph.inputs, (column for _, column in data.items()), strict=True)
        return self._run([_column(each, values) for each, values in columns])

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, columns in the order of `feature_names` where those are stated."""
        if self.feature_names is None:
            return self._run([_numbers(self._graph.inputs[0], rows)])
        each = enumerate(self._graph.inputs)
        return self._run([_numbers(taken, rows[:, [position]]) for position, taken in each])

    def own_bytes(self) -> int:
        """Bytes of weights, graph and vocabularies, which Python can't see."""
        return self._own_bytes

    def _run(self, arrays: list[npt.NDArray[Any]]) -> Predictions:
        tensors = [
            self._tf.constant(array, dtype=each.dtype)
            for array, each in zip(arrays, self._graph.inputs, strict=True)
        ]
        try:
            answer: npt.NDArray[Any] = self._graph.run(tensors).numpy()
        except self._tf.errors.InvalidArgumentError as error:  # such as an index outside an embedding
            raise ValueError(_cause(str(error.message))) from error
        if answer.dtype == object:
            answer = np.array([_text(value) for value in answer.flat]).reshape(answer.shape)
        return answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer


def load(data: bytes, model_id: ModelId) -> Model:
    """Read a ``.keras`` file or a zip archive of a SavedModel's folder; the content decides which.

    Raises:
        ArtifactInvalid: it is neither, or not a model from rows to predictions.
        FormatNotInstalled: TensorFlow is not installed.
    """
    if model_id.method not in {None, "predict"}:
        problem = f"a TensorFlow model has no method {model_id.method}, its output is what it predicts"
        raise ArtifactInvalid(model_id.uri, f"{problem}; remove spec.model.method")
    with _refused(model_id):
        archive = Archive(data)
        root = archive.folder_of("saved_model.pb")
        if root is None and archive.folder_of("MLmodel") is not None:
            raise ValueError("it is an MLflow model folder; declare format: mlflow")
        if root is None and archive.folder_of("config.json") != "":
            raise ValueError("it holds neither config.json (.keras) nor saved_model.pb (SavedModel)")
    try:
        tf = _tensorflow()
    except (ImportError, OSError) as error:
        raise FormatNotInstalled(model_id.uri, "TensorFlow", FORMAT.extra, str(error)) from error
    with TemporaryDirectory(prefix="tenantry-") as folder, _refused(model_id):
        if root is None:
            loaded = _load_keras(data, Path(folder))
        else:
            archive.extract(folder)
            loaded = tf.saved_model.load(str(Path(folder, root)))
        configuration_bytes = archive.size_bytes - archive.bytes_of("model.weights.h5", "variables.data-")
        model = TensorFlowModel(loaded, configuration_bytes=configuration_bytes)
        try_once(model, "predict", model_id)
    return model


def dump(model: Any) -> tuple[bytes, str] | None:
    """Return the ``.keras`` file of a Keras model and its suffix; None for anything else."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        return None
    with TemporaryDirectory(prefix="tenantry-") as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes(), path.suffix


@lru_cache(maxsize=1)
def _tensorflow() -> Any:
    """Import TensorFlow, for one core and without a GPU.

    Raises:
        ImportError: it is not installed, or its Keras does not run on it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its greetings don't belong in our log
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    if keras.backend.backend() != "tensorflow":
        raise ImportError(f"KERAS_BACKEND is {keras.backend.backend()!r} here, it must be 'tensorflow'")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # it runs already, and was configured then
        pass
    return tf


def _load_keras(data: bytes, folder: Path) -> Any:
    import keras  # noqa: PLC0415

    path = folder / "model.keras"
    path.write_bytes(data)
    return keras.saving.load_model(path, compile=False, safe_mode=True)


@contextmanager
def _refused(model_id: ModelId) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ArtifactInvalid(model_id.uri, str(error)) from error


def _column(taken: Input, values: "pd.Series[Any]") -> npt.NDArray[Any]:
    if not taken.is_text:
        try:
            numbers = values.to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {taken.name!r} must be a number in every row: {error}") from error
        if np.isnan(numbers).any():
            raise ValueError(f"column {taken.name!r} lacks a number in row {np.isnan(numbers).argmax()}")
        return _numbers(taken, numbers[:, np.newaxis])
    texts = values.tolist()
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            problem = f"column {taken.name!r} must be text, row {number} holds {text!r:.40}"
            raise ValueError(problem)  # noqa: TRY004 - it is a caller's value, answered with 422
    return np.array(texts, dtype=object).reshape(len(texts), *taken.shape)


def _numbers(taken: Input, rows: Rows) -> npt.NDArray[Any]:
    """Return the rows in the input's own type and shape.

    Raises:
        ValueError: a number does not fit: too large, or not whole.
    """
    kind = taken.dtype.as_numpy_dtype
    with np.errstate(over="ignore", invalid="ignore"):
        cast: npt.NDArray[Any] = rows.astype(kind)
    lost = np.isinf(cast) & np.isfinite(rows) if taken.dtype.is_floating else cast != rows
    if lost.any():
        number, position = (int(index) for index in np.argwhere(lost)[0])
        where = f"row {number}, column {taken.name if taken.columns == 1 else position}"
        raise ValueError(f"{where}: {rows[number, position]:g} is not of type {taken.dtype.name}")
    return cast.reshape(len(rows), *taken.shape) if taken.columns is not None else cast


def _cause(message: str) -> str:
    """Return the line of a TensorFlow error that names the problem, below a page of frames."""
    return message.partition("\n\t [[")[0].strip().rpartition("\n")[2]


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
