"""ONNX graphs through ONNX Runtime, on one thread.

Tabular graphs only: one matrix, or an input for each column as skl2onnx makes them from a DataFrame.
"""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenantry import Model, ModelId
from tenantry.model import Predictions, Rows
from tenantry_server.formats.checks import narrowing
from tenantry_server.formats.checks.trial import made
from tenantry_server.formats.libraries import library
from tenantry_server.formats.onnx import FORMAT
from tenantry_server.formats.onnx import graph as onnx_size

_TYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


@dataclass(frozen=True, slots=True)
class _Input:
    """One input of a graph.

    Attributes:
        dtype: what it takes; object for strings.
        width: columns; None: any number of them.
        is_vector: True where a column has no second axis.
        rows: how many at a time; None: any number.
    """

    name: str
    dtype: np.dtype[Any]
    width: int | None
    is_vector: bool
    rows: int | None


class OnnxModel(Model):
    """An ONNX graph that answers rows of a table.

    A graph of one matrix takes columns by position. One with an input for each column takes them by the
    inputs' names. Values are cast to the inputs' own types, mostly float32; one that the type can't
    hold is refused. A graph does not say whether it takes missing values: they are refused where one row of
    them makes NaN, as a linear model does.

    Args:
        data: of an .onnx file that needs no other file.
        method: ``predict`` is the first output, ``predict_proba`` the second.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: its inputs are not a table, or it has no such method.
    """

    independent_rows = True
    may_block = False

    def __init__(self, data: bytes, method: str = "predict") -> None:
        self._session = _session(data)
        self._inputs = [_read(each) for each in self._session.get_inputs()]
        _refuse_what_is_no_table(self._inputs)
        outputs = [each.name for each in self._session.get_outputs()]
        wanted = {"predict": 0, "predict_proba": 1}.get(method, len(outputs))
        if wanted >= len(outputs):
            raise ValueError(f"a graph with the outputs {', '.join(outputs)} has no method {method}")
        self.method = method
        self._output = outputs[wanted]
        self.numeric = all(each.dtype != object for each in self._inputs)
        self.accepts_missing = all(each.dtype.kind in "fO" for each in self._inputs)
        self._one_by_one = any(each.rows == 1 for each in self._inputs)
        if len(self._inputs) > 1:
            self.feature_names = tuple(each.name for each in self._inputs)
            self.feature_count = len(self._inputs)
        else:
            self.feature_count = self._inputs[0].width
        self._own_bytes = onnx_size.resident_bytes(data)
        if self.numeric and self.accepts_missing:
            self.accepts_missing = self._answers_missing()

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Score a DataFrame by the columns that the inputs are named after."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        if self.numeric:
            return self.predict_rows(data.to_numpy(dtype=np.float64, na_value=np.nan))
        if self.feature_names is None:
            texts = [_texts(data.iloc[:, position]) for position in range(data.shape[1])]
            return self._run([np.column_stack(texts)], len(data))
        columns = [data.iloc[:, position] for position in range(data.shape[1])]
        return self._run(
            [
                _texts(column)
                if each.dtype == object
                else narrowing.cast(_numbers(column), each.dtype, column.name)
                for each, column in zip(self._inputs, columns, strict=True)
            ],
            len(data),
        )

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, cast to the graph's type."""
        if self.feature_names is None:
            return self._run([narrowing.cast(rows, self._inputs[0].dtype)], len(rows))
        return self._run(
            [narrowing.cast(rows[:, i], each.dtype, each.name) for i, each in enumerate(self._inputs)],
            len(rows),
        )

    def own_bytes(self) -> int:
        """Bytes in memory, within a factor of two of what the allocator counts."""
        return self._own_bytes

    def _answers_missing(self) -> bool:
        """Return whether a row of NaN gives numbers in every output, beside a label too."""
        row = np.full((1, self.feature_count or 1), np.nan)
        wanted = self._output
        try:
            for output in self._session.get_outputs():
                self._output = output.name
                answer = self.predict_rows(row)
                if answer.dtype.kind == "f" and np.isnan(answer).any():
                    return False
        finally:
            self._output = wanted
        return True

    def _run(self, values: list[npt.NDArray[Any]], count: int) -> Predictions:
        """Give each input its values, in the shape that it has in the graph."""
        fed = {
            each.name: value.reshape(-1) if each.is_vector else value.reshape(count, -1)
            for each, value in zip(self._inputs, values, strict=True)
        }
        if not self._one_by_one or count == 1:
            return self._answer(fed)
        return np.concatenate(
            [self._answer({name: value[i : i + 1] for name, value in fed.items()}) for i in range(count)]
        )

    def _answer(self, fed: dict[str, npt.NDArray[Any]]) -> Predictions:
        (output,) = self._session.run([self._output], fed)
        if isinstance(output, list) and output and isinstance(output[0], dict):  # ZipMap: label -> chance
            return np.array([[row[label] for label in output[0]] for row in output])
        answer = np.asarray(output)
        is_column = self.method == "predict" and answer.ndim == 2 and answer.shape[1] == 1
        return answer[:, 0] if is_column else answer


def load(data: bytes, model_id: ModelId) -> Model:
    """Read an .onnx file.

    Raises:
        FormatNotInstalled: ONNX Runtime is not installed.
        ArtifactInvalid: it is not a graph, takes no table, or lacks the method.
    """
    library("onnxruntime", extra=FORMAT.extra, model_id=model_id)
    return made(OnnxModel, data, model_id)


def dump(model: Any) -> tuple[bytes, str] | None:
    """Return the file of an `onnx.ModelProto` and its suffix; None for anything else."""
    onnx = sys.modules.get("onnx")
    is_own = onnx is not None and isinstance(model, onnx.ModelProto)
    return (model.SerializeToString(), ".onnx") if is_own else None


def _session(data: bytes) -> Any:
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a server is one core: no threads of its own
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # each model would keep the memory of its largest request
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An artifact is one object: a graph must not name files of this machine as its weights.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", "/nonexistent/one-file-only"
    )
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _read(given: Any) -> _Input:
    dtype = _TYPES.get(given.type)
    shape = list(given.shape)
    if dtype is None or len(shape) not in (1, 2):
        raise ValueError(f"its input {given.name} is {given.type} {shape}; a matrix or a column is needed")
    rows, *rest = (size if isinstance(size, int) else None for size in shape)
    return _Input(given.name, np.dtype(dtype), rest[0] if rest else 1, not rest, rows)


def _refuse_what_is_no_table(inputs: list[_Input]) -> None:
    if not inputs:
        raise ValueError("it has no inputs")
    for each in inputs:
        if each.rows not in (None, 1):
            raise ValueError(
                f"its input {each.name} takes exactly {each.rows} rows; export it with a dynamic first axis"
            )
        if len(inputs) > 1 and each.width != 1:
            width = "any number of" if each.width is None else each.width
            raise ValueError(
                f"of its {len(inputs)} inputs, {each.name} takes {width} columns; "
                "export it with one matrix, or with one input for each column"
            )


def _numbers(column: "pd.Series[Any]") -> npt.NDArray[np.float64]:
    for row, value in enumerate(column):
        if isinstance(value, str):
            raise TypeError(f"row {row}, column {column.name!r} must be a number")
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _texts(column: "pd.Series[Any]") -> npt.NDArray[np.object_]:
    for row, value in enumerate(column):
        if not isinstance(value, str):
            raise TypeError(f"row {row}, column {column.name!r} must be a string")
    return column.to_numpy(dtype=object)
