"""What a model weighs: its own objects and data, whatever language they live in."""

import pickle
import sys
import threading
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from tenantry import Model
from tenantry.model import Predictions
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.memory.model_size import size_bytes

MIB = 1 << 20


class Holds(Model):
    """Predicts nothing and holds something."""

    shared: ClassVar[Any] = bytearray(64 * MIB)

    def __init__(self, held: Any) -> None:
        self.held = held

    def predict(self, data: pd.DataFrame) -> Predictions:
        return np.zeros(len(data))


def test_an_array_is_counted_once() -> None:
    assert 8 * MIB <= size_bytes(Holds(np.zeros(MIB))) < 8.1 * MIB


@pytest.mark.parametrize(
    "held", [b"x" * MIB, ["x" * MIB], {"x": b"x" * MIB}, pd.DataFrame({"x": np.zeros(MIB // 8)})]
)
def test_size_grows_with_what_a_model_holds(held: Any) -> None:
    assert size_bytes(Holds(held)) >= MIB


def test_a_small_model_is_small() -> None:
    fitted = Ridge().fit(np.eye(10), np.arange(10.0))
    assert 500 < size_bytes(SklearnModel(fitted)) < 10_000


def test_the_c_memory_of_a_forest_is_seen() -> None:
    """Python's own measure shows a fraction of it."""
    x = np.random.default_rng(0).normal(size=(500, 4))
    sizes = []
    for trees in (10, 40):
        forest = RandomForestRegressor(trees, random_state=0).fit(x, x.sum(axis=1))
        nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
        size = size_bytes(SklearnModel(forest))
        assert size >= nodes * 64  # one node of scikit-learn's tree
        sizes.append(size)
    assert sizes[1] > 3.5 * sizes[0]


def test_a_model_that_cannot_be_pickled_is_measured_by_its_objects() -> None:
    """Its arrays too: else the cache's bound would not hold for it."""
    unpicklable = Holds([np.zeros(MIB), threading.Lock()])
    with pytest.raises(TypeError):
        pickle.dumps(unpicklable)
    assert 8 * MIB <= size_bytes(unpicklable) < 8.1 * MIB


def test_a_model_whose_pickling_fails_halfway_is_measured_by_its_objects() -> None:
    assert MIB <= size_bytes(Holds([b"x" * MIB, lambda: None])) < 1.1 * MIB


def test_a_model_that_holds_itself_is_measured() -> None:
    model = Holds(None)
    model.held = [model, {"again": model}]
    assert 0 < size_bytes(model) < 10_000


def test_what_all_models_share_is_no_models_own() -> None:
    """Classes, functions and modules stay when the model goes."""
    assert size_bytes(Holds([Holds, np, size_bytes, sys])) < 100_000


def test_an_object_that_lies_about_its_class_is_measured() -> None:
    class Liar:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("no class")

        @__class__.setter
        def __class__(self, value: Any) -> None: ...

    assert size_bytes(Holds(Liar())) > 0
