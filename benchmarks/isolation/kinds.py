"""The models of this benchmark: one that becomes arrays, and three that stay in a worker."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from benchmarks.serving.tenants import COLUMNS, ROW, Tenants
from tenantry_server.toys import SumModel


def tenants(kind: str, folder: Path, count: int) -> Tenants:
    """Write the artifacts of so many tenants."""
    made = Tenants("ridge", folder, count)
    if kind == "ridge":
        made.write()
        return made
    for n in range(count):
        made.path(n).parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        joblib.dump(_KINDS[kind](n), file)
        made.path(n).write_bytes(file.getvalue())
    return made


def expected(made: Tenants, n: int) -> float:
    """Return what the artifact itself answers."""
    return float(joblib.load(made.path(n)).predict(pd.DataFrame([ROW]))[0])


def _fitted(estimator: Any, n: int) -> Any:
    random = np.random.default_rng(n)
    rows = pd.DataFrame(random.normal(size=(60, len(COLUMNS))), columns=list(COLUMNS))
    return make_pipeline(StandardScaler(), estimator).fit(rows, rows.sum(axis=1) * (1 + n))


_KINDS: dict[str, Callable[[int], Any]] = {
    "svr": lambda n: _fitted(SVR(), n),
    "gaussian process": lambda n: _fitted(GaussianProcessRegressor(), n),
    "own class": lambda n: SumModel(plus=float(n)),
}
