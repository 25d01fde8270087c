"""MLflow model folders as zip archives: which file holds the model, its signature and its input example.

Reads the MLmodel file itself, so MLflow need not be installed. Refuses files that lie elsewhere than in the
folder. The format is MLflow's own: https://mlflow.org/docs/latest/ml/model
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tenantry.errors import FeatureMismatch
from tenantry_server.cards.card import Card, Form
from tenantry_server.formats.checks.archive import Archive
from tenantry_server.rows.columns import Column, Kind, cast
from tenantry_server.scoring import golden

_FILE = "MLmodel"
_MOST_FILE_BYTES = 1 << 20
_MOST_EXAMPLE_BYTES = 16 << 20
_DEEPEST = 50
# Of each flavour, the keys under which its MLmodel names the file, in the order to look for them.
_DATA: Mapping[str, tuple[str, ...]] = {
    "sklearn": ("pickled_model",),
    "xgboost": ("data",),
    "lightgbm": ("data",),
    "catboost": ("data", "model_binary"),
    "statsmodels": ("data",),
    "prophet": ("data", "model_binary"),
    "onnx": ("data",),
}
PYTHON_FUNCTION = "python_function"
# Not model_code_path: MLflow writes where the file lay at first, and reads one of its name in the folder.
_PATHS = ("data", "code", "python_model", "model_path", "model_binary", "config")
_NUMBERS = frozenset(
    [f"float{bits}" for bits in (16, 32, 64)]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
)
_TYPES: Mapping[str, tuple[Kind, str]] = {
    "double": (Kind.NUMBER, "float64"),
    "float": (Kind.NUMBER, "float32"),
    "long": (Kind.INTEGER, "int64"),
    "integer": (Kind.INTEGER, "int32"),
    "boolean": (Kind.BOOLEAN, "bool"),
    "string": (Kind.TEXT, ""),
    "datetime": (Kind.TIME, "datetime64[ns]"),
}


class Folder:
    """A checked MLflow model folder.

    Args:
        data: a zip archive of it.

    Raises:
        ValueError: it is not one, or nothing in it can be served; says what.
    """

    def __init__(self, data: bytes) -> None:
        self.archive = Archive(data)
        self._sizes = self.archive.sizes
        found = [PurePosixPath(name) for name in self._sizes if PurePosixPath(name).name == _FILE]
        top = [path for path in found if len(path.parts) == min(len(each.parts) for each in found)]
        if len(top) != 1:
            where = f"several files {_FILE}" if top else f"no file {_FILE}"
            raise ValueError(f"it is not an MLflow model folder: it holds {where}")
        self.root = top[0].parent
        self._document = self._read_document()
        flavors = self._document.get("flavors")
        if not isinstance(flavors, dict) or not flavors:
            raise ValueError(f"its {_FILE} names no flavors")
        self.flavor = next((name for name in (*_DATA, PYTHON_FUNCTION) if name in flavors), "")
        if not self.flavor:
            known = ", ".join((*_DATA, PYTHON_FUNCTION))
            raise ValueError(f"its flavors are {', '.join(map(str, flavors))}; served are {known}")
        function = flavors.get(PYTHON_FUNCTION)
        self._settings = _mapping(flavors[self.flavor], self.flavor)
        if (
            self._settings.get("code") and function is not None
        ):  # modules that only MLflow's own loader adds
            self.flavor, self._settings = PYTHON_FUNCTION, _mapping(function, PYTHON_FUNCTION)

    @cached_property
    def model_file(self) -> str:
        """The name of the file that holds the model, of every flavour but python_function.

        Raises:
            ValueError: it is not named, or not there, or lies elsewhere.
        """
        for key in _DATA[self.flavor]:
            named = self._settings.get(key)
            if named is not None:
                name = self._inside(named, key)
                if str(self.root / name) not in self._sizes:
                    raise ValueError(f"its {_FILE} names {name!r}, which the folder does not hold")
                return name
        raise ValueError(f"its {_FILE} does not say which file holds the {self.flavor} model")

    def setting(self, key: str) -> str:
        """Return what the flavour says under a key; empty: nothing."""
        value = self._settings.get(key)
        return value if isinstance(value, str) else ""

    def read(self, name: str) -> bytes:
        """Return a file of the folder."""
        return self.archive.read(str(self.root / name))

    def check_paths(self) -> None:
        """Check every path that MLflow's own loader would follow.

        Raises:
            ValueError: one leads out of the folder.
        """
        for key in _PATHS:
            if isinstance(self._settings.get(key), str):
                self._inside(self._settings[key], key)
        artifacts = self._settings.get("artifacts") or {}
        for name, each in _mapping(artifacts, "artifacts").items():
            self._inside(_mapping(each, name).get("path"), f"artifacts.{name}.path")

    def card(self, method: str) -> Card | None:
        """Return what the signature says of the columns, as a card without rows; None: it says nothing."""
        columns = self._columns
        if columns is None:
            return None
        form, taken = columns
        return Card(
            form=form,
            columns=taken,
            rows=[],
            answers=[],
            method=method,
            relative=golden.RELATIVE,
            absolute=0.0,
            versions={},
            statistics={},
        )

    def example(self) -> Any:
        """Return the input example, a DataFrame or an array, in the types of the signature; None: none.

        Raises:
            ValueError: it can't be read.
        """
        info = self._document.get("saved_input_example_info")
        if not isinstance(info, dict) or info.get("type") not in ("dataframe", "ndarray"):
            return None
        name = self._inside(info.get("artifact_path"), "saved_input_example_info.artifact_path")
        size = self._sizes.get(str(self.root / name))
        if size is None or size > _MOST_EXAMPLE_BYTES:
            return None
        try:
            document = json.loads(self.read(name))
            if info["type"] == "ndarray":
                given = document["inputs"] if isinstance(document, dict) else document
                array = np.asarray(given)
                return array if array.ndim == 2 and array.dtype.kind in "fiub" else None
            frame = pd.DataFrame(document["data"], columns=document.get("columns"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"its input example {name} can't be read: {error}") from None
        return self._typed(frame)

    def _typed(self, frame: pd.DataFrame) -> Any:
        if not all(isinstance(name, str) for name in frame.columns):
            return frame.to_numpy() if all(dtype.kind in "fiub" for dtype in frame.dtypes) else None
        if self._columns is None or self._columns[0] is not Form.FRAME:
            return frame
        names = [column.name for column in self._columns[1]]
        if set(names) != set(frame.columns):
            return None
        try:
            return cast(frame[names], self._columns[1])
        except FeatureMismatch as error:
            raise ValueError(f"its input example is not of the types of its signature: {error}") from None

    @cached_property
    def _columns(self) -> tuple[Form, tuple[Column, ...]] | None:
        signature = self._document.get("signature")
        try:
            inputs = json.loads(signature["inputs"]) if isinstance(signature, dict) else None
            return None if not inputs else _columns_of(inputs)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # of a newer MLflow: a request then goes by what the model itself records

    def _read_document(self) -> dict[str, Any]:
        size = self._sizes[str(self.root / _FILE)]
        if size > _MOST_FILE_BYTES:
            raise ValueError(f"its {_FILE} has {size} bytes, at most {_MOST_FILE_BYTES} are allowed")
        try:
            text = self.read(_FILE)
            _refuse_what_explodes(text)
            document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            line = str(error).strip().partition("\n")[0]
            raise ValueError(f"its {_FILE} can't be read: {line}") from None
        return dict(_mapping(document, "the whole"))

    def _inside(self, named: Any, key: str) -> str:
        """Return a path that stays in the folder.

        Raises:
            ValueError: it does not, or is not a path.
        """
        path = PurePosixPath(named) if isinstance(named, str) else None
        if path is None or not path.parts:
            raise ValueError(f"its {_FILE} has {named!r:.100} for {key}, which must be a path")
        if path.is_absolute() or ".." in path.parts or "\\" in str(named) or ":" in path.parts[0]:
            raise ValueError(
                f"its {_FILE} names {named!r:.100} for {key}, which lies outside of the folder"
            )
        return str(path)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _refuse_what_explodes(text: bytes) -> None:
    """Refuse YAML whose reading would end the process: deep nesting, and merge keys, which multiply.

    Raises:
        ValueError: it has either.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<":
            raise ValueError("it has a merge key (<<)")


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"its {_FILE} has no mapping for {name}")


def _columns_of(inputs: list[dict[str, Any]]) -> tuple[Form, tuple[Column, ...]] | None:
    """Return the columns of a signature: named ones, or a matrix; None: it is of something else."""
    if len(inputs) == 1 and inputs[0].get("type") == "tensor":
        spec = inputs[0]["tensor-spec"]
        dtype, shape = str(spec["dtype"]), list(spec["shape"])
        if inputs[0].get("name") or len(shape) != 2 or shape[1] < 1 or dtype not in _NUMBERS:
            return None
        kind = Kind.NUMBER if dtype.startswith("f") else Kind.INTEGER
        return Form.ARRAY, tuple(Column(str(number), kind, dtype) for number in range(shape[1]))
    if not all(isinstance(each.get("name"), str) and each["type"] in _TYPES for each in inputs):
        return None
    return Form.FRAME, tuple(Column(each["name"], *_TYPES[each["type"]]) for each in inputs)
