"""Kernels on the wire: they come back as they were, and a forged one is refused in words."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenantry_server.compiling.compiler import fast
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.kernels import arrays, packing, unpacking
from tenantry_server.kernels.arrays import Malformed
from tenantry_server.kernels.base import Compiled
from tenantry_server.kernels.forest import Forest, Trees
from tenantry_server.kernels.tree_arrays import TreeArrays

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(120, 4))
TARGET = ROWS @ [1.0, -2.0, 0.5, 3.0]
LABELS = np.array(["low", "mid", "high"])[np.digitize(TARGET, [-2, 2])]


@pytest.fixture(autouse=True)
def _kept_arrays() -> Iterator[None]:
    Forest.keeps_arrays = True
    yield
    Forest.keeps_arrays = False


def kernel_of(estimator: Any, method: str = "predict") -> Compiled:
    kernel = fast(SklearnModel(estimator, method))
    assert isinstance(kernel, Compiled)
    return kernel


def sent(kernel: Compiled) -> Compiled:
    other = unpacking.unpack(b"".join(packing.pack(kernel)))
    assert isinstance(other, Compiled)
    return other


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (Ridge().fit(ROWS, TARGET), "predict"),
        (LinearRegression().fit(ROWS, np.c_[TARGET, -TARGET]), "predict"),
        (make_pipeline(StandardScaler(), Ridge()).fit(ROWS, TARGET), "predict"),
        (make_pipeline(SimpleImputer(), Ridge()).fit(ROWS, TARGET), "predict"),
        (make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS), "predict"),
        (make_pipeline(SimpleImputer(), LogisticRegression()).fit(ROWS, LABELS), "predict_proba"),
        (LogisticRegression().fit(ROWS, TARGET > 0), "predict_proba"),
        (LogisticRegression().fit(ROWS, LABELS.astype(object)), "predict"),
        (SGDClassifier(loss="modified_huber").fit(ROWS, LABELS), "predict_proba"),
        (RandomForestRegressor(5).fit(ROWS, TARGET), "predict"),
        (RandomForestClassifier(5).fit(ROWS, LABELS), "predict"),
        (make_pipeline(StandardScaler(), RandomForestClassifier(5)).fit(ROWS, LABELS), "predict_proba"),
        (GradientBoostingClassifier(n_estimators=4).fit(ROWS, LABELS), "predict_proba"),
        (HistGradientBoostingRegressor(max_iter=4).fit(ROWS, TARGET), "predict"),
        (HistGradientBoostingClassifier(max_iter=4).fit(ROWS, TARGET > 0), "predict"),
    ],
    ids=str,
)
def test_a_kernel_answers_after_the_wire_as_before(estimator: Any, method: str) -> None:
    kernel = kernel_of(estimator, method)
    other = sent(kernel)
    assert type(other) is type(kernel)
    seen, expected = other.predict_rows(ROWS), kernel.predict_rows(ROWS)
    assert seen.shape == expected.shape
    assert seen.tolist() == expected.tolist()
    assert other.feature_count == 4
    assert other.accepts_missing == kernel.accepts_missing


def test_names_and_selected_columns_come_along() -> None:
    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    columns = make_column_transformer((StandardScaler(), ["d", "b"]))
    kernel = kernel_of(make_pipeline(columns, Ridge()).fit(frame, TARGET))
    other = sent(kernel)
    assert tuple(other.feature_names or ()) == ("a", "b", "c", "d")
    assert other.predict(frame).tolist() == kernel.predict(frame).tolist()


def forest_kernel() -> Trees:
    kernel = kernel_of(RandomForestRegressor(3, max_depth=3).fit(ROWS, TARGET))
    assert isinstance(kernel, Trees)
    return kernel


def forged(**changes: Any) -> bytes:
    """Return a forest as a worker would send it, with some of its nodes changed."""
    kernel = forest_kernel()
    given = kernel.ensemble.forest.arrays
    assert given is not None
    changed = {}
    for name, (position, value) in changes.items():
        array = getattr(given, name).copy()
        array[position] = value
        changed[name] = array
    kernel.ensemble.forest.arrays = replace(given, **changed)
    return b"".join(packing.pack(kernel))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"left": (0, 1 << 40)}, "child does not lie behind it"),
        ({"right": (1, 0)}, "child does not lie behind it"),
        ({"left": (0, 0)}, "child does not lie behind it"),
        ({"left": (0, -2)}, "child does not lie behind it"),
        ({"left": (0, 2)}, "not exactly one parent"),
        ({"feature": (0, 4)}, "compares a column that is not one of 4"),
        ({"feature": (0, -5)}, "compares a column that is not one of 4"),
        ({"threshold": (0, np.nan)}, "threshold is not a number"),
        ({"counts": (0, 1 << 50)}, "numbers of nodes don't fit"),
        ({"counts": (0, 0)}, "numbers of nodes don't fit"),
        ({"counts": (0, -3)}, "numbers of nodes don't fit"),
    ],
    ids=str,
)
def test_a_forged_tree_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    """Before C code follows it wherever it points."""
    with pytest.raises(Malformed, match=words):
        unpacking.unpack(forged(**changes))


def test_a_kernel_of_other_shapes_is_refused() -> None:
    kernel = kernel_of(Ridge().fit(ROWS, TARGET))
    document, given = arrays.decode(b"".join(packing.pack(kernel)))
    for change in (
        {"count": 5},
        {"count": -1},
        {"names": ["a"]},
        {"weights": 7},
        {"kind": "os.system"},
        {"intercept": None},
        {"link": "eval", "classes": None},
    ):
        with pytest.raises(Malformed):
            unpacking.unpack(b"".join(arrays.encode(document | change, given)))


@pytest.mark.parametrize("dtype", ["08,f8", "(" * 500, "f8,f8", "<f16", "O", "V8", "U9", "", ["<f8"], None])
def test_a_dtype_that_nobody_writes_is_refused_unread(dtype: Any) -> None:
    """NumPy evaluates parts of such a text as Python, and parsers of Python can be made to fail."""
    head, *rest = arrays.encode({}, [np.zeros(3)])
    document, described = orjson.loads(head[4:])
    described[0]["dtype"] = dtype
    forged = orjson.dumps([document, described])
    with pytest.raises(Malformed):
        arrays.decode(b"".join([len(forged).to_bytes(4, "little"), forged, *rest]))


@cache
def _packed_forest() -> bytes:
    return b"".join(packing.pack(forest_kernel()))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_give_a_kernel(data: st.DataObject) -> None:
    """Whatever arrives, it is a kernel or an error, never the end of this process."""
    whole = bytearray(_packed_forest())
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            kernel = unpacking.unpack(damaged)
        except Malformed:
            continue
        if kernel.feature_count == 4:
            with np.errstate(all="ignore"):
                kernel.predict_rows(ROWS[:3])


def test_an_empty_forest_is_refused() -> None:
    nothing = np.empty(0, np.int64)
    with pytest.raises(ValueError, match="numbers of nodes"):
        Forest(
            TreeArrays(
                nothing, nothing, nothing, nothing, np.empty(0), np.empty(0, np.uint8), np.empty((0, 1))
            ),
            2,
        )
