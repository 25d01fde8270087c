"""PyTorch programs: TorchScript modules (``.pt``) and exported programs (``.pt2``); the content decides.

PyTorch is imported when the first such model loads, not before. It computes on the CPU, on one thread.
A program is run by PyTorch's own interpreters, and files of ``torch.export`` may hold pickles: trust its
author as that of a pickle. What such a file can do ends at the sandbox of its worker process.
"""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry.model import Predictions, Rows
from tenantry_server.cards.card import Card
from tenantry_server.formats.checks import narrowing
from tenantry_server.formats.checks.archive import Archive
from tenantry_server.formats.checks.trial import try_once
from tenantry_server.formats.torch import FORMAT
from tenantry_server.formats.torch import graph as torch_graph

_WRITE = (
    "write the whole model with torch.export.save(torch.export.export(model.eval(), (rows,), "
    'dynamic_shapes=({0: torch.export.Dim("rows")},)), "m.pt2"), or with '
    'torch.jit.script(model.eval()).save("m.pt"), or as ONNX'
)
# Measured with PyTorch 2.13: networks of 3 to 60 layers, traced, scripted and exported, made the process
# grow by 0.1 to 0.5 MB each beside their weights.
_PROGRAM_BYTES = 200_000
_GROWTH_OF_PROGRAM = 4
_OUTPUTS = {"predict": 0, "predict_proba": 1}


class TorchModel(Model):
    """A TorchScript module or an exported program as a Model.

    A program of one matrix takes columns by position, or by the names of its card; an input of more
    dimensions takes them flattened, in C order. A program with an input for each column takes them by the
    inputs' names. Values are cast to the inputs' own types, mostly float32. A missing one is refused: a
    comparison makes an ordinary number of NaN.

    Args:
        program: what ``torch.jit.load`` or ``torch.export.load`` returned.
        method: ``predict`` is the first output, ``predict_proba`` the second.
        card: what was recorded of it where it was trained; None: what it states itself.
        program_bytes: size of what its file holds beside its weights; counted in `own_bytes`.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: its inputs are not a table, or it has no such method.
    """

    may_block = False
    numeric = True
    accepts_missing = False

    def __init__(
        self, program: Any, method: str = "predict", card: Card | None = None, *, program_bytes: int = 0
    ) -> None:
        self._torch = _torch()
        names = None if card is None else card.names
        count = None if card is None else len(card.columns)
        if hasattr(program, "graph_signature"):
            self._graph = torch_graph.of_export(program)
        else:
            self._graph = torch_graph.of_script(program.eval(), names, count)
        wanted = _OUTPUTS.get(method, self._graph.outputs)
        if wanted >= self._graph.outputs:
            raise ValueError(
                f"its {self._graph.outputs} output(s) are no {method}; correct spec.model.method"
            )
        self.method = method
        self._output = wanted
        self._own_bytes = _PROGRAM_BYTES + self._graph.weights_bytes + _GROWTH_OF_PROGRAM * program_bytes
        inputs = self._graph.inputs
        if len(inputs) > 1:
            self.feature_names = tuple(each.name for each in inputs)
            self.feature_count: int | None = len(inputs)
        else:
            self.feature_count = inputs[0].columns if inputs[0].columns is not None else count
            self.feature_names = names
        if count is not None and count != self.feature_count:
            raise ValueError(f"it takes {self.feature_count} columns, its card has {count}")
        self.independent_rows = self._answers_alone()

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Score a DataFrame, by the names of its columns where `feature_names` are stated."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        return self.predict_rows(data.to_numpy(dtype=np.float64, na_value=np.nan))

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix, cast to the program's types.

        Raises:
            ValueError: a value is not what its input takes, or the program refuses it.
        """
        inputs = self._graph.inputs
        if len(inputs) == 1:
            arrays = [narrowing.cast(rows, inputs[0].dtype)]
        else:
            arrays = [narrowing.cast(rows[:, i], each.dtype, each.name) for i, each in enumerate(inputs)]
        shaped = [_shaped(array, each) for array, each in zip(arrays, inputs, strict=True)]
        if not self._graph.one_by_one or len(rows) == 1:
            return self._run(shaped)
        return np.concatenate([self._run([a[i : i + 1] for a in shaped]) for i in range(len(rows))])

    def own_bytes(self) -> int:
        """Bytes of weights and program, which Python can't see."""
        return self._own_bytes

    def _run(self, arrays: list[npt.NDArray[Any]]) -> Predictions:
        torch = self._torch
        # The optimizer would compile again for shapes that it has not seen, in the middle of a request.
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            try:
                given = self._graph.call([torch.tensor(array) for array in arrays])
            except (RuntimeError, IndexError, AssertionError) as error:  # such as an unknown embedding
                raise ValueError(f"the model refuses it: {torch_graph.cause(error)}") from error
            tensor = torch_graph.tensors_of(given)[self._output]
            if tensor.dtype == torch.bfloat16:  # which NumPy has not
                tensor = tensor.float()
            answer: npt.NDArray[Any] = tensor.numpy()
        is_column = self.method == "predict" and answer.ndim == 2 and answer.shape[1] == 1
        return answer[:, 0] if is_column else answer

    def _answers_alone(self) -> bool:
        """Return whether rows together get the answers that they get alone.

        They do not where a normalisation was traced in training mode. A small difference is only rounding:
        a matrix product adds up in another order for another number of rows.
        """
        columns = self.feature_count or 1
        rows = (np.arange(3 * columns).reshape(3, columns) % 5 < 2).astype(np.float64)
        try:
            together = self.predict_rows(rows)
            alone = np.concatenate([self.predict_rows(row[np.newaxis]) for row in rows])
        except ValueError:  # such rows may lie outside what it takes
            return False
        if together.dtype.kind != "f":
            return bool((together == alone).all())
        return bool(np.allclose(together, alone, rtol=1e-3, atol=1e-5, equal_nan=True))


def load(data: bytes, model_id: ModelId, card: Card | None = None) -> Model:
    """Read a TorchScript module or an exported program.

    Raises:
        ArtifactInvalid: it is neither, or not a model from rows to predictions.
        FormatNotInstalled: PyTorch is not installed.
    """
    with _refused(model_id):
        archive = Archive(data)
        exported = _is_exported(archive)
        if card is not None and not card.is_numeric:
            strange = next((each for each in card.columns if not each.is_number), None)
            what = "rows without columns" if strange is None else f"{strange.name!r} of {strange.kind}"
            raise ValueError(f"its card has {what}; a PyTorch model takes numbers")
    try:
        torch = _torch()
    except (ImportError, OSError) as error:
        raise FormatNotInstalled(model_id.uri, "PyTorch", FORMAT.extra, str(error)) from error
    with _refused(model_id):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is deprecated, which its author knows by now
                read = torch.export.load if exported else _script
                program = read(io.BytesIO(data))
        except Exception as error:  # of a damaged archive, of an operator that is not here, and so on
            raise ValueError(f"PyTorch can't read it: {torch_graph.cause(error)}") from error
        program_bytes = max(archive.size_bytes - _weights_bytes(archive), 0)
        model = TorchModel(program, model_id.methods[0], card, program_bytes=program_bytes)
    if card is None:
        try_once(model, model.method, model_id)
    return model


def dump(model: Any) -> tuple[bytes, str] | None:
    """Return the file of a TorchScript module or an exported program, and its suffix; None for others.

    Raises:
        ArtifactInvalid: it is a module of Python, whose class a server does not have.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    buffer = io.BytesIO()
    if isinstance(model, torch.export.ExportedProgram):
        torch.export.save(model, buffer)
        return buffer.getvalue(), ".pt2"
    if isinstance(model, torch.jit.ScriptModule):
        torch.jit.save(model, buffer)
        return buffer.getvalue(), ".pt"
    if isinstance(model, torch.nn.Module):
        problem = f"a torch.nn.Module needs the code of its class; {_WRITE}"
        raise ArtifactInvalid(f"the {type(model).__name__}", problem)
    return None


def _script(file: io.BytesIO) -> Any:
    return _torch().jit.load(file, map_location="cpu")


@lru_cache(maxsize=1)
def _torch() -> Any:
    """Import PyTorch, for one thread.

    Raises:
        ImportError: it is not installed.
    """
    import torch  # noqa: PLC0415 - an extra
    import torch.export  # noqa: PLC0415

    torch.set_num_threads(1)
    return torch


def _is_exported(archive: Archive) -> bool:
    """Return whether it is an exported program, else a TorchScript module.

    Raises:
        ValueError: it is neither; says what it is and what to do.
    """
    names = {name.partition("/")[2] or name for name in archive.names}
    if "constants.pkl" in names:
        return False
    if (
        any(name.startswith("models/") for name in names)
        or "serialized_exported_program.json" in archive.names
    ):
        return True
    if "data.pkl" in names:
        raise ValueError(f"it is what torch.save writes: weights, or a module without its code; {_WRITE}")
    if any(name.startswith("data/aotinductor/") for name in names):
        raise ValueError(
            "it is a package of AOTInductor, code of one machine; write it with torch.export.save"
        )
    raise ValueError("it is a zip archive, and neither a TorchScript module nor an exported program")


def _weights_bytes(archive: Archive) -> int:
    """Return the size of the tensors in a file: members without a name of their own."""
    return sum(size for name, size in archive.sizes.items() if "/data/" in name and "." not in name[-5:])


@contextmanager
def _refused(model_id: ModelId) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ArtifactInvalid(model_id.uri, str(error)) from error


def _shaped(array: npt.NDArray[Any], each: torch_graph.Input) -> npt.NDArray[Any]:
    shape = (-1,) if each.columns is None else each.shape
    if len(array) == 0 and each.columns is None:
        return array
    return array.reshape(len(array), *shape)
