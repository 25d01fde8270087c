"""What other libraries fitted, as a Model or a Forecaster: one module for each library, listed only here.

Such an object comes out of a pickle or joblib file like an estimator. Its library says what it is.
"""

import importlib
from typing import Any

from tenantry import Forecaster, Model, ModelId
from tenantry.errors import ArtifactInvalid, FeatureMismatch, InvalidRequest, PredictionFailed
from tenantry_server.formats.checks import trial
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.scoring import forecasts

_MODULES = {
    "catboost": "catboost",
    "mlforecast": "nixtla_ml",
    "prophet": "prophet",
    "skforecast": "skforecast",
    "sktime": "sktime",
    "statsforecast": "nixtla_stats",
    "statsmodels": "statsmodels",
}
"""Of a library, the module here that reads its objects.

`adapt(loaded, method)` of it returns a Model, and raises ValueError with what keeps the object from being
served. A forecaster has no other method than ``predict``, which is checked here.
"""


LIBRARIES = tuple(_MODULES)
"""The libraries whose objects are read."""


def adapted(loaded: Any, model_id: ModelId) -> Model | None:
    """Return an object of another library as a Model; None: no library here knows it.

    Raises:
        ArtifactInvalid: it is of a known library and can't be served; says why.
    """
    library = _library_of(loaded)
    if library is None:
        return None
    kind = type(loaded).__name__
    try:
        model: Model = importlib.import_module(f"{__name__}.{_MODULES[library]}").adapt(
            loaded, model_id.method or "predict"
        )
    except ValueError as error:
        raise ArtifactInvalid(model_id.uri, f"the {kind} of {library}: {error}") from error
    if isinstance(model, Forecaster):
        if model_id.method not in (None, "predict"):
            raise ArtifactInvalid(
                model_id.uri, f"a {kind} only forecasts; take {model_id.method} out of spec.model.method"
            )
        _try_once(model, model_id)
    else:
        trial.try_once(model, model_id.method or "predict", model_id)
    return model


def _library_of(loaded: Any) -> str | None:
    """Return the library that it, or a class that its class is made from, comes from."""
    for kind in type(loaded).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in _MODULES:
            return library
    return None


def _try_once(model: Forecaster, model_id: ModelId) -> None:
    """Forecast one step, to find what only shows in use; exogenous columns are 1."""
    exog = {name: [1.0] for name in model.exog_names} or None
    try:
        forecasts.forecast(model, ForecastRequest(horizon=1, exog=exog))
    except (FeatureMismatch, InvalidRequest):
        return  # these values may lie outside what it takes, which is not a fault of the artifact
    except PredictionFailed as error:
        raise ArtifactInvalid(model_id.uri, f"it can't forecast: {error}") from error
