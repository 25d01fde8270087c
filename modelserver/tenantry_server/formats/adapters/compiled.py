"""Kernels of other libraries' forecasters, where all that is in them only computes."""

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import structlog

from tenantry import Forecaster
from tenantry_server.cards.card import Card
from tenantry_server.compiling import forecast_tables
from tenantry_server.compiling.forecast_tables import Claims
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.scoring import forecasts

log = structlog.get_logger(__name__)

_ONLY_COMPUTE = sys.stdlib_module_names | {
    *("catboost", "mlforecast", "prophet", "skforecast", "sktime", "statsforecast", "statsmodels"),
    *("View", "cmdstanpy", "coreforecast", "formulaic", "holidays", "interface_meta", "joblib", "lightgbm"),
    *("narwhals", "numba", "numpy", "pandas", "patsy", "polars", "pyarrow", "scipy", "skbase", "sklearn"),
    *("stanio", "tenantry", "tenantry_server", "tqdm", "utilsforecast", "xgboost"),
}
_MOST_OBJECTS = 200_000


def table_of(model: Forecaster, card: Card | None) -> ForecastTable | None:
    """Return a table that was proven to answer as a forecaster does; None: the forecaster itself serves.

    One that holds a class or a function of one's own is never compiled: it may read a clock, or ask another
    service, which no proof shows.
    """
    if not _only_computes(model):
        return None
    zone = getattr(model.last_time, "tz", None)
    claims = Claims(
        quantiles=model.takes_quantiles,
        history=model.takes_history,
        exog_names=tuple(model.exog_names),
        affine=bool(getattr(model, "is_affine", False)),
        local=zone is not None and str(zone) != "UTC",
    )
    example = None if card is None or card.forecast is None else card.payload()
    try:
        return forecast_tables.table_of(
            lambda asked: forecasts.forecast(model, asked),
            claims,
            example if isinstance(example, ForecastRequest) else None,
        )
    except Exception as reason:  # the original serves, whatever is wrong
        log.debug("forecaster not compiled", kind=type(model).__name__, reason=str(reason))
        return None


def _only_computes(model: Forecaster) -> bool:
    """Return whether every object in it is of a library that only computes."""
    seen: set[int] = set()
    todo: list[Any] = [model]
    while todo and len(seen) <= _MOST_OBJECTS:
        item = todo.pop()
        if id(item) in seen or isinstance(item, ModuleType):
            continue
        seen.add(id(item))
        code = _is_code(item)
        if ((item if code else type(item)).__module__ or "").partition(".")[0] not in _ONLY_COMPUTE:
            return False
        if not code:
            todo.extend(gc.get_referents(item))
    return not todo


def _is_code(item: Any) -> bool:
    if isinstance(item, type | FunctionType | BuiltinFunctionType):
        return True
    return type(item).__module__.startswith("_cython_")  # a function that was compiled
