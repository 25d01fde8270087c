"""LightGBM models from the text files that LightGBM itself saves.

Such a file does not state whether LGBMClassifier wrote it, nor the labels: ``predict`` is what
`lightgbm.Booster.predict` gives, which is the probability for a classifier.
"""

import re
import sys
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Model, ModelId
from tenantry.model import Predictions, Rows
from tenantry_server.formats.checks.trial import made
from tenantry_server.formats.libraries import library
from tenantry_server.formats.lightgbm import FORMAT

_GIVES_PROBABILITIES = ("binary", "multiclass", "multiclassova", "cross_entropy")
# Measured on 10 to 1,000 trees of 4 to 100 leaves, LightGBM 4.7: within 5 % of the resident memory.
_BOOSTER_BYTES, _TREE_BYTES, _BYTES_OF_TEXT = 10_000, 650, 0.8
_DEFAULT_NAME = re.compile(r"Column_\d+")


class LightGBMModel(Model):
    """A LightGBM model, on one thread.

    Args:
        data: of a text file that `Booster.save_model` wrote.
        method: ``predict``, or ``predict_proba`` of a classifier.

    Raises:
        ImportError: LightGBM is not installed.
        ValueError: the file is cut off, needs categories, or has no such method.
    """

    numeric = True
    accepts_missing = True
    independent_rows = True
    may_block = False

    def __init__(self, data: bytes, method: str = "predict") -> None:
        import lightgbm  # noqa: PLC0415 - an extra

        _check_whole(data)
        self._booster = lightgbm.Booster(model_str=data.decode())
        if self._booster.pandas_categorical:
            raise ValueError(
                "it was trained on pandas category columns; encode them as numbers before you train it"
            )
        objective = _header(data, "objective").partition(" ")[0] or "an objective of your own"
        gives = ["predict", *(["predict_proba"] if objective in _GIVES_PROBABILITIES else [])]
        if method not in gives:
            raise ValueError(f"{objective} has no method {method}, only {' and '.join(gives)}")
        self.method = method
        names = self._booster.feature_name()
        self.feature_names = None if all(map(_DEFAULT_NAME.fullmatch, names)) else tuple(names)
        self.feature_count = int(self._booster.num_feature())
        trees = int(self._booster.num_trees())
        self._own_bytes = int(_BOOSTER_BYTES + _TREE_BYTES * trees + _BYTES_OF_TEXT * len(data))

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Score a DataFrame of numbers, by name where the model has names."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        return self.predict_rows(data.to_numpy(dtype=np.float64, na_value=np.nan))

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix; NaN is a missing value."""
        answer = np.asarray(self._booster.predict(rows, num_threads=1))
        if self.method == "predict_proba" and answer.ndim == 1:
            return np.column_stack([1 - answer, answer])
        return answer

    def own_bytes(self) -> int:
        """Bytes in memory, as measured for the number of trees and the length of the text."""
        return self._own_bytes


def load(data: bytes, model_id: ModelId) -> Model:
    """Read a .txt file.

    Raises:
        FormatNotInstalled: LightGBM is not installed.
        ArtifactInvalid: the file is cut off or not a model, needs categories, or lacks the method.
    """
    library("lightgbm", extra=FORMAT.extra, model_id=model_id)
    return made(LightGBMModel, data, model_id)


def dump(model: Any) -> tuple[bytes, str] | None:
    """Return the file of a Booster and its suffix; None for anything else."""
    lightgbm = sys.modules.get("lightgbm")
    is_own = lightgbm is not None and isinstance(model, lightgbm.Booster)
    return (model.model_to_string().encode(), ".txt") if is_own else None


def _check_whole(data: bytes) -> None:
    """Refuse a file that is cut off, on which LightGBM ends the process.

    Its head has the length of each tree's text, and marks follow the last tree and the parameters.
    """
    if not data.startswith(b"tree\n"):
        raise ValueError("it is not a LightGBM model, whose first line is 'tree'")
    sizes = _header(data, "tree_sizes").split()
    trees = max(0, data.find(b"Tree=0\n")) if sizes else data.find(b"end of trees\n")
    if all(size.isdecimal() for size in sizes):
        end = trees + sum(map(int, sizes))
        if data.startswith(b"end of trees\n", end) and b"\nend of parameters\n" in data[end:]:
            return
    raise ValueError("the LightGBM model is cut off or damaged: its trees do not end where its head says")


def _header(data: bytes, key: str) -> str:
    """Return the value of a line before the first tree; empty where there is none."""
    found = re.search(rf"^{key}=(.*)$".encode(), data.partition(b"\nTree=")[0], re.MULTILINE)
    return "" if found is None else found[1].decode()
