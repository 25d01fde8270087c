"""Real MLflow model folders, each written by MLflow itself."""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import catboost
import cloudpickle
import lightgbm
import mlflow
import mlflow.catboost
import mlflow.lightgbm
import mlflow.onnx
import mlflow.prophet
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.statsmodels
import mlflow.xgboost
import numpy as np
import pandas as pd
import statsmodels.api as sm
import xgboost
from mlflow.models import infer_signature
from prophet import Prophet
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from statsmodels.tsa.arima.model import ARIMA

RNG = np.random.default_rng(0)
NUMBERS = pd.DataFrame({"km": RNG.uniform(0, 10, 80), "hour": RNG.integers(0, 24, 80)})
CITIES = NUMBERS.assign(city=RNG.choice(["Oslo", "Rome"], 80))
TARGET = 2 * NUMBERS["km"] + NUMBERS["hour"]
RARE = (TARGET.median() < TARGET).astype(int)
SERIES = pd.Series(
    50 + np.arange(60) + RNG.normal(0, 1, 60), pd.date_range("2026-10-01", periods=60, freq="D"), name="y"
)
SIZE = 5


class Margin(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model of a user's own, which reads a file at each prediction."""

    def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
        margin = float(Path(context.artifacts["margin"]).read_text())
        return model_input["km"] * margin + model_input["city"].str.len()


class Priced(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model that needs a module which its folder brings."""

    def predict(self, context: Any, model_input: pd.DataFrame) -> Any:  # noqa: ARG002 - MLflow's signature
        return model_input["km"] * importlib.import_module("shared_pricing").FACTOR


def _xgboost() -> Any:
    return xgboost.XGBRegressor(n_estimators=SIZE, n_jobs=1).fit(NUMBERS, TARGET)


def _booster() -> Any:
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(NUMBERS, TARGET), SIZE)


def _lightgbm() -> Any:
    return lightgbm.LGBMClassifier(n_estimators=SIZE, n_jobs=1, verbose=-1).fit(NUMBERS, RARE)


def _lightgbm_booster() -> Any:
    return lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(NUMBERS, TARGET), SIZE)


def _catboost() -> Any:
    small: dict[str, Any] = {"iterations": SIZE, "verbose": False, "thread_count": 1}
    model = catboost.CatBoostRegressor(cat_features=["city"], allow_writing_files=False, **small)
    return model.fit(CITIES, TARGET)


def _texts() -> Any:
    encoder = make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge())
    return encoder.fit(CITIES[["city"]], TARGET)


def _matrix() -> Any:
    return Ridge().fit(NUMBERS.to_numpy(), TARGET)


def _onnx() -> Any:
    fitted = Ridge().fit(NUMBERS.to_numpy(np.float32), TARGET)
    return to_onnx(fitted, NUMBERS.to_numpy(np.float32)[:1])


def _ols() -> Any:
    return sm.OLS(TARGET, sm.add_constant(NUMBERS)).fit()


def _prophet() -> Any:
    return Prophet().fit(pd.DataFrame({"ds": SERIES.index, "y": SERIES.to_numpy()}))


# Of each folder: the flavour's module, its model, its input example, what else MLflow is given.
KINDS: dict[str, tuple[Any, Callable[[], Any], Any, dict[str, Any]]] = {
    "sklearn": (mlflow.sklearn, lambda: LogisticRegression().fit(NUMBERS, RARE), NUMBERS, {}),
    "sklearn-pickled": (mlflow.sklearn, _texts, CITIES[["city"]], {"serialization_format": "cloudpickle"}),
    "sklearn-matrix": (mlflow.sklearn, _matrix, NUMBERS.to_numpy(), {"serialization_format": "pickle"}),
    "xgboost": (mlflow.xgboost, _xgboost, NUMBERS, {}),
    "xgboost-booster": (mlflow.xgboost, _booster, None, {"model_format": "json"}),
    "lightgbm": (mlflow.lightgbm, _lightgbm, NUMBERS, {}),
    "lightgbm-booster": (mlflow.lightgbm, _lightgbm_booster, NUMBERS, {}),
    "catboost": (mlflow.catboost, _catboost, CITIES, {}),
    "statsmodels": (mlflow.statsmodels, _ols, sm.add_constant(NUMBERS), {}),
    "statsmodels-series": (mlflow.statsmodels, lambda: ARIMA(SERIES, order=(1, 1, 0)).fit(), None, {}),
    "prophet": (mlflow.prophet, _prophet, None, {}),
    "onnx": (mlflow.onnx, _onnx, NUMBERS.to_numpy(np.float32), {}),
}


def write(name: str, folder: Path) -> Any:
    """Write one of the folders with its library's own model, and return the model."""
    flavor, make, example, how = KINDS[name]
    model = make()
    rows = None if example is None else example[:6]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # integers might be missing; a pickle is not safe; and so on
        flavor.save_model(model, str(folder), input_example=rows, pip_requirements=[], **how)
    return model


def write_function(folder: Path, margin: float = 3.0, **how: Any) -> Margin:
    """Write a python_function with an artifact of its own."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as the class of a notebook is
    beside = folder.with_suffix(".txt")
    beside.write_text(str(margin))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = how.pop("python_model", None) or Margin()
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=model,
            artifacts={"margin": beside.as_uri()},
            input_example=CITIES[:6],
            signature=infer_signature(CITIES[:6], TARGET[:6]),
            pip_requirements=[],
            **how,
        )
    return model
