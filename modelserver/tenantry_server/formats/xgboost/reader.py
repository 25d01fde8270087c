"""XGBoost models from the files that XGBoost itself saves, as .ubj or .json.

A model answers what the library would: a file that XGBClassifier saved gives labels and
probabilities, one of a plain Booster gives the objective's own output.
"""

import json
import re
import sys
from typing import Any

import numpy as np
import pandas as pd

from tenantry import Model, ModelId
from tenantry.model import Predictions, Rows
from tenantry_server.formats.checks import ubjson
from tenantry_server.formats.checks.trial import made
from tenantry_server.formats.libraries import library
from tenantry_server.formats.xgboost import FORMAT

_GIVES_PROBABILITIES = ("binary:logistic", "multi:softprob", "multi:softmax")
# Of the allocator's own count, from ten trees of depth 3 to five hundred of depth 6: 1.2 to 1.4 times
# the length of the model as UBJSON, and a little for the booster itself.
_BYTES_PER_SAVED_BYTE = 1.4
_BOOSTER_BYTES = 4096


class XGBoostModel(Model):
    """An XGBoost model, on one thread.

    Args:
        data: of a .ubj or .json file.
        method: ``predict``, or ``predict_proba`` of a classifier.

    Raises:
        ImportError: XGBoost is not installed.
        ValueError: XGBoost can't read it, it needs categories, or it has no such method.
    """

    numeric = True
    accepts_missing = True
    independent_rows = True
    may_block = False

    def __init__(self, data: bytes, method: str = "predict") -> None:
        import xgboost  # noqa: PLC0415 - an extra

        if not data.startswith(b"{"):
            raise ValueError("it is not an XGBoost model, which begins with '{'")
        if not _is_json(data):
            ubjson.check_whole(data)  # XGBoost's own reader runs past the end of a cut file
        elif b'"learner"' not in data:
            raise ValueError("it is JSON without 'learner', which every XGBoost model has")
        self._booster = xgboost.Booster()
        self._booster.load_model(bytearray(data))
        self._booster.set_param({"nthread": 1, "device": "cpu"})  # it may come from a GPU
        if "c" in (self._booster.feature_types or ()):
            raise ValueError("it has categorical columns; encode them as numbers before you train it")
        learner = json.loads(self._booster.save_config())["learner"]
        self._objective: str = learner["objective"]["name"]
        self._classes = max(2, int(learner["learner_model_param"]["num_class"]))
        self._is_linear = learner["gradient_booster"]["name"] == "gblinear"
        saved_by = json.loads(self._booster.attr("scikit_learn") or "{}").get("_estimator_type")
        self._is_classifier = saved_by == "classifier"
        self._iterations = (0, 0) if saved_by is None else self._best_iterations()
        self._refuse_other_methods(method)
        self.method = method
        names = self._booster.feature_names
        self.feature_names = None if names is None else tuple(names)
        self.feature_count = int(self._booster.num_features())
        saved_bytes = len(self._booster.save_raw("ubj"))
        self._own_bytes = _BOOSTER_BYTES + int(_BYTES_PER_SAVED_BYTE * saved_bytes)

    def predict(self, data: pd.DataFrame) -> Predictions:
        """Score a DataFrame of numbers, by name where the model has names."""
        if self.feature_names is not None:
            data = data[list(self.feature_names)]
        return self.predict_rows(data.to_numpy(dtype=np.float64, na_value=np.nan))

    def predict_rows(self, rows: Rows) -> Predictions:
        """Score a matrix; NaN is a missing value."""
        if self.method == "predict_proba":
            return self._probabilities(rows)
        answer = self._raw(rows)
        if not self._is_classifier or self._objective == "multi:softmax":
            return answer
        if answer.ndim > 1 and self._classes != 2:
            return np.asarray(answer.argmax(axis=1))
        return (answer > 0.5).astype(np.int64)

    def own_bytes(self) -> int:
        """Bytes in memory, within half of what the allocator counts."""
        return self._own_bytes

    def _probabilities(self, rows: Rows) -> Predictions:
        if self._objective == "multi:softmax":
            from scipy.special import softmax  # noqa: PLC0415 - it comes with XGBoost

            return np.asarray(softmax(self._raw(rows, margin=True), axis=1))
        answer = self._raw(rows)
        return answer if answer.ndim > 1 else np.column_stack([1 - answer, answer])

    def _raw(self, rows: Rows, *, margin: bool = False) -> Predictions:
        if self._is_linear:
            return self._linear(rows, margin=margin)
        kind = "margin" if margin else "value"
        answer = self._booster.inplace_predict(rows, iteration_range=self._iterations, predict_type=kind)
        return np.asarray(answer)

    def _linear(self, rows: Rows, *, margin: bool) -> Predictions:
        """Predict without trees, where XGBoost has no prediction in place."""
        import xgboost  # noqa: PLC0415 - an extra

        names = None if self.feature_names is None else list(self.feature_names)
        matrix = xgboost.DMatrix(rows, feature_names=names, nthread=1)
        return np.asarray(self._booster.predict(matrix, output_margin=margin))

    def _best_iterations(self) -> tuple[int, int]:
        """Return the trees up to the best one where training stopped early, as XGBoost's own API does."""
        best = self._booster.attr("best_iteration")
        return (0, 0) if best is None or self._is_linear else (0, int(best) + 1)

    def _refuse_other_methods(self, method: str) -> None:
        gives = ["predict"]
        if self._objective in _GIVES_PROBABILITIES:
            gives.append("predict_proba")
        if method not in gives:
            raise ValueError(f"{self._objective} has no method {method}, only {' and '.join(gives)}")


def load(data: bytes, model_id: ModelId) -> Model:
    """Read a .ubj or .json file.

    Raises:
        FormatNotInstalled: XGBoost is not installed.
        ArtifactInvalid: the file is cut off or not a model, needs categories, or lacks the method.
    """
    library("xgboost", extra=FORMAT.extra, model_id=model_id)
    return made(XGBoostModel, data, model_id, words=_words)


def dump(model: Any) -> tuple[bytes, str] | None:
    """Return the file of a Booster and its suffix; None for anything else."""
    xgboost = sys.modules.get("xgboost")
    is_own = xgboost is not None and isinstance(model, xgboost.Booster)
    return (bytes(model.save_raw("ubj")), ".ubj") if is_own else None


def _words(error: Exception) -> str:
    """Say what is wrong, without XGBoost's clock, the file of its source, and the C++ stack."""
    line = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error).strip().partition("\n")[0])
    return f"XGBoost can't use it: {line}"


def _is_json(data: bytes) -> bool:
    """Return whether it is UBJSON: a type marker follows the brace."""
    return data[1:].lstrip()[:1] in (b'"', b"}")
