"""Models that do what no model should, for servers of the tests' own to load."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, RegressorMixin

from tenantry import Model
from tenantry.model import Predictions


class HeldUp:
    """A model whose load goes on until a test allows it to end.

    Args:
        model: what is loaded in the end.
        folder: where `begun` and `allowed` are files that this and the test make.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self.begun = folder / "begun"
        self.allowed = folder / "allowed"

    def __reduce__(self) -> tuple[Any, ...]:
        return _once_allowed, (self._model, str(self.begun), str(self.allowed))


def _once_allowed(model: Any, begun: str, allowed: str) -> Any:
    Path(begun).touch()
    while not Path(allowed).exists():
        time.sleep(0.01)
    return model


class Ends(Model):
    """Ends the process where a row asks for it: ``x`` below 0."""

    feature_names = ("x",)

    def predict(self, data: pd.DataFrame) -> Predictions:
        if (data["x"] < 0).any():
            os._exit(9)
        return data["x"].to_numpy()


class Waits(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator of one's own: quick, until ``x`` names seconds to wait for without using a processor."""

    def fit(self, rows: Any, _targets: Any) -> "Waits":
        self.n_features_in_ = np.shape(rows)[1]
        return self

    def predict(self, rows: Any) -> Predictions:
        first = np.asarray(rows, dtype=float)[:, 0]
        time.sleep(float(first.max()))
        return first


class Reconfigures(Waits):
    """Leaves settings of libraries behind."""

    def predict(self, rows: Any) -> Predictions:
        sklearn.set_config(transform_output="pandas")
        np.seterr(all="raise")
        os.chdir("/")
        return np.asarray(rows, dtype=float)[:, 0]


class Parallels(Waits):
    """Asks for a process on every core."""

    def predict(self, rows: Any) -> Predictions:
        first = np.asarray(rows, dtype=float)[:, 0]
        pids = Parallel(n_jobs=4)(delayed(os.getpid)() for _ in range(4))
        return first + len(set(pids))
