"""Files of joblib are read as joblib reads them; what only joblib can tell is left to it."""

import io
import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tenantry_server.formats.sklearn import joblib_files, reader


def dumped(content: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(content, file, **how)
    return file.getvalue()


class Fails:
    """An object whose state can't be set."""

    def __init__(self) -> None:
        self.array = np.zeros(3)

    def __setstate__(self, state: Any) -> None:
        raise KeyError("not here")


ARRAY = np.arange(12.0).reshape(3, 4)
FRAME = pd.DataFrame({"a": ["x", "y", "x"], "b": [1.0, 2.0, 3.0]})
READ: dict[str, Any] = {
    "numbers": [ARRAY, ARRAY[:, 0], np.array([1, 2], np.float32), np.arange(3), np.array([True, False])],
    "orders": [np.asfortranarray(ARRAY), ARRAY.T, ARRAY[::2, ::-1]],
    "shapes": [np.zeros(()), np.zeros((0, 3)), np.zeros((1, 1, 2))],
    "objects": [np.array(["a", None, 3], object), np.array([["a"], ["b"]], object)],
    "texts": np.array(["a", "bcd"]),
    "times": np.array(["2026-01-01"], "datetime64[s]"),
    "records": np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
    "twice": [ARRAY, ARRAY],
    "large": {"texts": [f"a text of some length, {n}" for n in range(5000)], "then": np.arange(20_000.0)},
    "ridge": make_pipeline(StandardScaler(), Ridge()).fit(FRAME[["b"]], [1.0, 2.0, 4.0]),
    "encoder": OneHotEncoder(handle_unknown="ignore").fit(FRAME[["a"]]),
}
LEFT: dict[str, bytes] = {
    "other byte order": dumped([np.arange(3, dtype=">f8")]),
    "subclass": dumped([ARRAY.view(np.matrix)]),
    "old protocol": dumped([ARRAY], protocol=2),
}


def _same(seen: Any, expected: Any) -> bool:
    """Whether both are pickled alike, and arrays lie alike in memory."""
    return pickle.dumps(seen, 5) == pickle.dumps(expected, 5)


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_joblib_reads_it(name: str) -> None:
    data = dumped(READ[name])
    seen, expected = joblib_files.loads(data), joblib.load(io.BytesIO(data))
    assert _same(seen, expected)
    if name == "numbers":
        assert all(array.flags.writeable for array in seen)


@pytest.mark.parametrize("name", LEFT)
def test_a_file_that_only_joblib_can_read_is_left_to_it(name: str) -> None:
    with pytest.raises(joblib_files.Unusual):
        joblib_files.loads(LEFT[name])
    assert _same(reader.read(LEFT[name]), joblib.load(io.BytesIO(LEFT[name])))


def test_a_damaged_file_is_refused_in_the_words_of_joblib() -> None:
    """At every length; its bytes may also be those of anything else."""
    data = dumped(READ["ridge"])
    for length in range(2, len(data), 37):
        for damaged in (data[:length], data[:length] + b"\x95b\x86Q" + data[length + 4 :]):
            try:
                expected: Any = joblib.load(io.BytesIO(damaged))
            except Exception as error:
                with pytest.raises(type(error)):
                    reader.read(damaged)
            else:
                assert _same(reader.read(damaged), expected)


def test_what_a_class_raises_is_raised_once() -> None:
    data = dumped(Fails())
    with pytest.raises(KeyError, match="not here"):
        joblib_files.loads(data)
    with pytest.raises(KeyError, match="not here"):
        reader.read(data)
