"""The tenants of a benchmark: their artifacts, the row that is asked for them, and the right answers.

Every tenant has other coefficients, so an answer by the wrong one shows.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = tuple(f"feature_{n}" for n in range(10))
_FITTED_ON = 500  # rows
_PER_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class Tenants:
    """Artifacts in a folder, numbered from 0.

    Attributes:
        kind: ``ridge``, a StandardScaler and Ridge; ``texts``, a OneHotEncoder on three columns of texts,
            beside seven numbers, and Ridge; or ``forest``, 100 trees.
        folder: they are written on `write`.
        count: of tenants.
    """

    kind: str
    folder: Path
    count: int

    @property
    def row(self) -> dict[str, Any]:
        """The row that is asked for them."""
        return ROW | TEXTS if self.kind == "texts" else ROW

    def user_id(self, n: int) -> str:
        return f"tenant-{n:06}"

    def path(self, n: int) -> Path:
        return self.folder / f"{n // _PER_FOLDER:03}" / f"{self.user_id(n)}.joblib"

    def write(self) -> None:
        """Make every artifact."""
        for n, data in enumerate(self.artifacts()):
            if n % _PER_FOLDER == 0:
                self.path(n).parent.mkdir(parents=True, exist_ok=True)
            self.path(n).write_bytes(data)

    def artifacts(self) -> Iterator[bytes]:
        """The joblib file of each tenant."""
        if self.kind == "forest":
            yield from (_dumped(_forest(seed=n)) for n in range(self.count))
            return
        fitted = _texts() if self.kind == "texts" else _ridge()
        coefficients = fitted[-1].coef_
        # To fit and dump 100,000 takes minutes; joblib keeps an array's bytes as they are in memory.
        data, old = _dumped(fitted), coefficients.tobytes()
        assert data.count(old) == 1
        for n in range(self.count):
            yield data.replace(old, _coefficients(coefficients, n).tobytes())

    def expected(self, n: int) -> float:
        """What scikit-learn itself answers for `row`, from the tenant's own file."""
        return float(joblib.load(self.path(n)).predict(pd.DataFrame([self.row]))[0])


def linear_answers(count: int) -> Any:
    """What the first `count` Ridge tenants answer for `ROW`, without loading any; shape (count,)."""
    fitted = _ridge()
    scaled = fitted[:-1].transform(pd.DataFrame([ROW]))[0]
    last = fitted[-1]
    return np.array([scaled @ _coefficients(last.coef_, n) + last.intercept_ for n in range(count)])


def _coefficients(fitted: Any, n: int) -> Any:
    return fitted * (1 + n / 64)  # exact in binary, whatever the machine


def _data() -> tuple[pd.DataFrame, Any]:
    random = np.random.default_rng(4)
    rows = random.normal(size=(_FITTED_ON, len(COLUMNS))) * np.arange(1, 11) + 3
    noise = random.normal(size=_FITTED_ON)
    return pd.DataFrame(rows, columns=list(COLUMNS)), rows @ np.linspace(0.5, 2, 10) + noise


def _ridge() -> Any:
    return make_pipeline(StandardScaler(), Ridge()).fit(*_data())


def _texts() -> Any:
    rows, target = _data()
    random = np.random.default_rng(5)
    for name, value in TEXTS.items():
        rows[name] = random.choice([value, *(f"{name} {n}" for n in range(9))], len(rows))
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(TEXTS)),
        remainder=StandardScaler(),
    )
    return make_pipeline(columns, Ridge()).fit(rows, target + 3 * (rows["feature_0"] == TEXTS["feature_0"]))


def _forest(seed: int) -> Any:
    return RandomForestRegressor(100, random_state=seed, n_jobs=1).fit(*_data())


def _dumped(fitted: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(fitted, file)
    return file.getvalue()


ROW = {name: round(float(value), 3) for name, value in zip(COLUMNS, np.linspace(-7, 11, 10), strict=True)}
TEXTS = {"feature_0": "Sunday", "feature_1": "Hamburg", "feature_2": "groceries"}
