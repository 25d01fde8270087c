"""Small models as TensorFlow's users make them, and the bytes they would publish."""

import gc
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from tenantry import Model, ModelId
from tenantry_server.formats import dump_model, load_model
from tenantry_server.formats.checks import archive

gc.freeze()  # TensorFlow's own objects are a million, and `loaded` collects the others each time
ROWS = np.random.default_rng(0).normal(size=(50, 4))
FIGURES = ROWS.astype(np.float32)


@cache
def regression(units: int = 8, layers: int = 2) -> Any:
    """Fitted, once for all tests, with layers that behave differently in training."""
    keras.utils.set_random_seed(0)
    scale = keras.layers.Normalization()
    scale.adapt(FIGURES)
    hidden = [keras.layers.Dense(units, "relu") for _ in range(layers)]
    network = keras.Sequential(
        [
            keras.Input((4,)),
            scale,
            *hidden,
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    network.compile("adam", "mse")
    network.fit(FIGURES, FIGURES.sum(axis=1), epochs=2, verbose=0)
    return network


def classifier() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])


def of_columns() -> Any:
    """An input for each column, in an order that is not the alphabet's."""
    keras.utils.set_random_seed(0)
    columns = [keras.Input((1,), name=name) for name in ("km", "age")]
    return keras.Model(columns, keras.layers.Dense(1)(keras.layers.Concatenate()(columns)))


def of_text() -> Any:
    """A column of text that is looked up in a vocabulary, and one of numbers."""
    keras.utils.set_random_seed(0)
    city, km = keras.Input((1,), dtype="string", name="city"), keras.Input((1,), name="km")
    known = keras.layers.StringLookup(vocabulary=["Oslo", "Rome"])(city)
    place = keras.layers.Flatten()(keras.layers.Embedding(3, 2)(known))
    return keras.Model([km, city], keras.layers.Dense(1)(keras.layers.Concatenate()([place, km])))


def of_ids() -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((2,), dtype="int32")
    return keras.Model(
        ids, keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.Embedding(10, 3)(ids)))
    )


def of_images() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )


def _traced(shape: tuple[int | None, ...]) -> Callable[[Callable[..., Any]], Any]:
    function: Callable[[Callable[..., Any]], Any] = tf.function(
        input_signature=[tf.TensorSpec(shape, tf.float32, name="share")]
    )
    return function


class Halves(tf.Module):  # type: ignore[misc]  # it has no types
    """A SavedModel that Keras had no part in, with a label as its output."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = tf.Variable(0.5)

    @_traced((None, 1))
    def label(self, share: Any) -> Any:
        return {"label": tf.where(share[:, 0] > self.limit, "upper", "lower")}

    @_traced((None, 1))
    def both(self, share: Any) -> Any:
        return {"above": share > self.limit, "below": share < self.limit}

    @_traced((None,))
    def total(self, share: Any) -> Any:
        return {"total": tf.reduce_sum(share)}


def keras_bytes(network: Any) -> bytes:
    data = dump_model(network)
    assert data[1] == ".keras"
    return data[0]


def saved_bytes(network: Any, top: str = "") -> bytes:
    """Keras's own export, zipped."""
    with TemporaryDirectory() as folder:
        if top:
            Path(folder, top).parent.mkdir(parents=True)
        network.export(str(Path(folder, top)), verbose=False)
        return archive.pack(Path(folder))


def module_bytes(module: Any, **signatures: Any) -> bytes:
    with TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures or None)
        return archive.pack(Path(folder))


def loaded(data: bytes, **model_id: Any) -> Model:
    """As the server has it later, when whatever nothing refers to is gone."""
    model = load_model(data, ModelId("file:///m.keras", **model_id))
    gc.collect()
    return model
