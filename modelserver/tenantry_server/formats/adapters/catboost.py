"""CatBoost's own classes, from pickles and from .cbm files, as a Model; read against catboost 1.2."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Model
from tenantry.model import Predictions, Rows
from tenantry_server.rows.columns import Column, Kind

_BYTES_PER_SAVED_BYTE = 2.0
_MODEL_BYTES = 16_384


def adapt(loaded: Any, method: str) -> Model:
    """Return a fitted model.

    Raises:
        ValueError: it is not fitted, or has no such method.
    """
    return CatBoostModel(loaded, method)


class CatBoostModel(Model):
    """A CatBoost model, on one thread; it answers what its own class would.

    Its categorical and text columns take texts and whole numbers as they were in training.

    Args:
        fitted: a CatBoostClassifier, CatBoostRegressor, CatBoostRanker or CatBoost.
        method: ``predict``, or ``predict_proba`` of a classifier.

    Raises:
        ValueError: it is not fitted, or has no such method.
    """

    accepts_missing = True
    independent_rows = True
    may_block = False

    def __init__(self, fitted: Any, method: str = "predict") -> None:
        if not fitted.is_fitted():
            raise ValueError("it is not fitted")
        if method != "predict" and not (method == "predict_proba" and hasattr(fitted, method)):
            raise ValueError(f"it has no method {method}")
        self._fitted = fitted
        self.method = method
        names = [str(name) for name in fitted.feature_names_]
        kinds = [Kind.NUMBER] * len(names)
        for position in fitted.get_cat_feature_indices():
            kinds[position] = Kind.ANY
        for position in fitted.get_text_feature_indices():
            kinds[position] = Kind.TEXT
        by_position = names == [str(position) for position in range(len(names))]
        self.feature_names = None if by_position else tuple(names)
        self.feature_count = len(names)
        self.numeric = all(kind is Kind.NUMBER for kind in kinds)
        if not self.numeric:
            self.column_types = tuple(Column(name, kind) for name, kind in zip(names, kinds, strict=True))

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Ask with the columns in the model's own order."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        return self._ask(data)

    def predict_rows(self, rows: Rows) -> Predictions:
        """Ask with a matrix; NaN is a missing value."""
        return self._ask(rows)

    def own_bytes(self) -> int:
        """Bytes in memory, about twice the length of its file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.cbm"
            self._fitted.save_model(str(file))
            return int(_MODEL_BYTES + _BYTES_PER_SAVED_BYTE * file.stat().st_size)

    def _ask(self, given: Any) -> Predictions:
        answer = np.asarray(getattr(self._fitted, self.method)(given, thread_count=1))
        return answer[:, 0] if answer.ndim == 2 and answer.shape[1] == 1 else answer
