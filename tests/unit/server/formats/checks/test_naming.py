"""A file that can't be served is called what it is, whatever its name says."""

import gzip
import io
import json
import pickle
import zipfile
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.formats import FORMATS, load_model

FITTED = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return buffer.getvalue()


def pickled(content: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(content, buffer)
    return buffer.getvalue()


def problem(data: bytes, suffix: str) -> str:
    with pytest.raises(ArtifactInvalid) as raised:
        load_model(data, ModelId(f"file:///m{suffix}"))
    return raised.value.problem


TORCH_ZIP = zipped("m/data.pkl", "m/data/0", "m/version")
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."
HDF = b"\x89HDF\r\n\x1a\n" + bytes(100)
SPARK = zipped("metadata/part-00000", "metadata/_SUCCESS", "data/part-00000-9.snappy.parquet")
TAR = b"model/" + bytes(251) + b"ustar\x0000" + bytes(300)
R = "it is a file of R (.rds, .RData), and a server runs Python"
THINGS = {
    "state_dict": (
        TORCH_ZIP,
        ".joblib",
        "it is what torch.save writes: weights, or a module without its code",
    ),
    "state_dict as Keras": (TORCH_ZIP, ".zip", "it is what torch.save writes: weights"),
    "old state_dict": (OLD_TORCH, ".pkl", "it is what an old torch.save wrote: weights"),
    "TorchScript": (zipped("m/data.pkl", "m/constants.pkl"), ".pkl", "it is a TorchScript module; declare"),
    "safetensors": (b"\x3c" + bytes(7) + b'{"w":{}}', ".pt", "it is a safetensors file: weights without"),
    "Keras weights": (HDF, ".keras", "it is an HDF5 file, as Keras writes weights alone"),
    "Keras weights as joblib": (HDF, ".joblib", "it is an HDF5 file, as Keras writes weights alone"),
    "Keras": (
        zipped("config.json", "model.weights.h5"),
        ".pkl",
        "it is a Keras model; declare format: tensor",
    ),
    "SavedModel": (zipped("m/saved_model.pb"), ".onnx", "it is a SavedModel of TensorFlow; declare format"),
    "Spark": (SPARK, ".zip", "it is a model of Spark ML, which needs Spark to predict"),
    "Spark pipeline": (zipped("m/metadata/part-00000"), ".joblib", "it is a model of Spark ML"),
    "MLflow": (
        zipped("m/MLmodel", "m/model.pkl"),
        ".joblib",
        "it is an MLflow model folder; declare format",
    ),
    "R": (gzip.compress(b"X\n\x00\x00\x00\x03\x00\x04\x03\x01"), ".joblib", R),
    "R workspace": (gzip.compress(b"RDX3\nX\n\x00\x00\x00\x03"), ".txt", R),
    "R as text": (b"A\n3\n262657\n", ".pkl", R),
    "zip": (zipped("a.txt"), ".joblib", "it is a zip archive, as skops (.skops), Keras"),
    "zip as skops": (
        zipped("a.txt"),
        ".skops",
        "it is a zip archive without schema.json, which every skops",
    ),
    "npz": (zipped("arr_0.npy"), ".skops", "it is a file of NumPy arrays: data, not a model"),
    "tar": (gzip.compress(TAR), ".joblib", "it is a tar archive; publish the folder that it holds"),
    "skops": (skops.io.dumps(FITTED), ".joblib", "it is a skops file; declare format: skops"),
    "compressed joblib": (
        gzip.compress(pickled(FITTED)),
        ".onnx",
        "it is a pickle or joblib file; declare",
    ),
    "CatBoost": (b"CBM1" + bytes(20), ".txt", "it is a CatBoost model; declare format: catboost"),
    "LightGBM": (b"tree\nversion=v4\n", ".json", "it is a LightGBM model; declare format: lightgbm"),
    "XGBoost": (b'{"learner":{}}', ".joblib", "it is an XGBoost model; declare format: xgboost"),
    "other JSON": (b'{"a": 1}', ".json", "XGBoost can't use it: it is JSON without 'learner'"),
    "a table": (b"a,b\n1,2\n", ".json", "XGBoost can't use it: it is not an XGBoost model, which begins"),
    "a table as ONNX": (
        b"a,b\n1,2\n",
        ".onnx",
        "it is not an ONNX model, or it is damaged: ONNX Runtime says: ",
    ),
    "TOML": (
        b'class = "a:B"\n',
        ".joblib",
        "or it is damaged: where a pickle names a module, it has something",
    ),
    "a dict": (
        pickled({"w": 1}),
        ".joblib",
        "it holds a dict, which has no predict method; its keys are 'w': ",
    ),
    "a DataFrame": (
        pickled(pd.DataFrame()),
        ".joblib",
        "it holds a DataFrame, which has no predict method",
    ),
    "None": (pickled(None), ".joblib", "it holds None, which has no predict method"),
    "an array": (pickled(np.zeros(2)), ".joblib", "it holds a ndarray, which has no predict method"),
    "a function": (
        pickle.dumps(json.dumps),
        ".pkl",
        "it holds the function dumps of json, which has no predict",
    ),
    "a class": (pickle.dumps(Ridge), ".pkl", "it holds the class Ridge; publish a fitted instance of it"),
    "a class that is gone": (
        b"cmy_pkg\nPricer\n.",
        ".pkl",
        "it needs the Python module 'my_pkg', which can't be",
    ),
    "a class of a script": (
        b"c__main__\nPricer\n.",
        ".pkl",
        "it needs 'Pricer' of the Python module '__main__', the script or notebook that wrote it; a",
    ),
}


@pytest.mark.parametrize(("data", "suffix", "words"), THINGS.values(), ids=THINGS.keys())
def test_what_can_not_be_served_is_called_by_its_name(data: bytes, suffix: str, words: str) -> None:
    assert words in problem(data, suffix)


@pytest.mark.parametrize("suffix", [suffix for known in FORMATS for suffix in known.suffixes])
def test_an_empty_file_is_called_empty(suffix: str) -> None:
    """Whether the library of its format is there or not."""
    assert problem(b"", suffix) == "it is empty"


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_no_message_shows_the_inside_of_a_library(known: Any) -> None:
    said = []
    for data, *_ in THINGS.values():
        try:
            load_model(data, ModelId("file:///m", format=known.name))
        except ArtifactInvalid as error:
            said.append(error.problem)
    inner = ("BadZipFile", "KeyError", "INVALID_", "[ONNX", "IndexError")
    assert [line for line in said if any(word in line for word in inner)] == []
    assert len(said) > 30
