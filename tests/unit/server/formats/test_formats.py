"""What holds for every format: its library is an extra, and what can't be read is refused in words."""

import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from skl2onnx import to_onnx
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid, FormatNotInstalled
from tenantry_server import FileSystemModelRepository, publish
from tenantry_server.formats import FORMATS, load_model

ROWS = np.random.default_rng(0).normal(size=(60, 3))
TARGET = ROWS.sum(axis=1)
LIBRARIES = [
    (".skops", "skops.io", "skops"),
    (".onnx", "onnxruntime", "onnx"),
    (".ubj", "xgboost", "xgboost"),
    (".json", "xgboost", "xgboost"),
    (".txt", "lightgbm", "lightgbm"),
]


@pytest.mark.parametrize(("suffix", "module", "extra"), LIBRARIES)
def test_a_library_that_is_not_installed_is_named_with_what_brings_it(
    suffix: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    with pytest.raises(FormatNotInstalled) as raised:
        load_model(b"any bytes", ModelId(f"file:///m{suffix}"))
    assert f"it needs {module}, which can't be imported" in str(raised.value)
    assert f"pip install 'tenantry[{extra}]'" in str(raised.value)


@pytest.mark.parametrize("name", sorted(known.name for known in FORMATS))
@pytest.mark.parametrize(
    "data", [b"", b"garbage", bytes(1000), b"{" * 100_000, b"PK\x03\x04" + bytes(100)], ids=range(5)
)
def test_bytes_of_something_else_are_an_invalid_artifact(name: str, data: bytes) -> None:
    with pytest.raises(ArtifactInvalid, match=r"^file:///m is not a usable model: "):
        load_model(data, ModelId("file:///m", format=name))


def _xgboost() -> Any:
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(ROWS, TARGET), num_boost_round=3)


def _lightgbm() -> Any:
    quiet = {"verbosity": -1, "num_threads": 1}
    return lightgbm.train(quiet, lightgbm.Dataset(ROWS, TARGET), num_boost_round=3)


def _onnx() -> Any:
    return to_onnx(Ridge().fit(ROWS, TARGET), ROWS[:1].astype(np.float32))


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(_xgboost, ".ubj"), (_lightgbm, ".txt"), (_onnx, ".onnx")],
    ids=["xgboost", "lightgbm", "onnx"],
)
def test_a_librarys_own_object_is_published_as_the_library_writes_it(
    make: Any, suffix: str, tmp_path: Path
) -> None:
    declared = publish(make(), user_id="ann", to=tmp_path)
    assert declared.spec.model.uri.endswith(suffix)
    model = FileSystemModelRepository().get_model(str(declared.spec.model.pinned()))
    assert model.predict_rows(ROWS).shape == (60,)
