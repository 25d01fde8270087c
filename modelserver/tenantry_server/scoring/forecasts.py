"""Runs one forecaster on one request: checks times and columns before, and the forecast after."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tenantry import Forecaster, TenantryError
from tenantry.errors import (
    FeatureMismatch,
    NotAForecaster,
    PredictionFailed,
    TimelineMismatch,
)
from tenantry.forecaster import MEAN, VALUE
from tenantry.model import Model, Predictions
from tenantry_server.rows.forecast_request import (
    MOST_STEPS,
    TIME,
    ForecastRequest,
    Table,
    check_numbers,
    refuse_untaken,
)
from tenantry_server.rows.payload import check_same
from tenantry_server.scoring import surroundings
from tenantry_server.scoring.timelines import Timeline, label

if TYPE_CHECKING:
    import pandas as pd


def forecast(model: Model, request: ForecastRequest) -> Predictions:
    """Answer one request.

    Returns:
        objects of shape (horizon, 2 + quantiles): the label of each step, its mean, and its quantiles.

    Raises:
        NotAForecaster: the model predicts rows.
        InvalidRequest: the model can't do what is asked, such as quantiles.
        TimelineMismatch: times do not follow the model's series; names the row.
        FeatureMismatch: an exogenous column is missing or unknown, or the model refused its values.
        PredictionFailed: the model raised, or answered something else than a forecast.
    """
    if not isinstance(model, Forecaster):
        raise NotAForecaster
    refuse_untaken(model, request)
    timeline = Timeline(model)
    history = _history(model, timeline, request.history)
    last: Any = timeline.last_time if history is None else history.index[-1]
    before = _before(timeline, request, last)
    count = before + request.horizon
    steps = timeline.steps(last, count) if last is not None else list(range(count))
    exog = _exog(model, timeline, request.exog, steps)
    answered = _checked(
        model,
        lambda: model.forecast(count, history=history, exog=exog, quantiles=request.quantiles),
    )
    numbers = _numbers(answered, count, request.quantiles, type(model).__name__)
    made = np.empty((request.horizon, 1 + numbers.shape[1]), dtype=object)
    made[:, 0] = [step if isinstance(step, int) else label(step) for step in steps[before:]]
    made[:, 1:] = numbers[before:]
    made[:, 1:][~np.isfinite(numbers[before:])] = None
    return made


def _history(model: Forecaster, timeline: Timeline, given: Table | None) -> "pd.DataFrame | None":
    if given is None:
        return None
    columns = dict(given)
    times = columns.pop(TIME, None)
    if times is None:
        raise TimelineMismatch(f"history: its column {TIME!r} is missing; it says when each value was")
    check_same(columns, (VALUE, *model.exog_names), "history: ")
    return _frame(columns, timeline.read(times, "history"), "history", (VALUE, *model.exog_names))


def _before(timeline: Timeline, request: ForecastRequest, last: Any) -> int:
    """Return how many steps lie between the end of the series and the first one that is asked for."""
    if request.start is None:
        return 0
    if last is None:
        raise TimelineMismatch("from: the model does not say where its series ends; leave it out")
    start = timeline.one(request.start, "from")
    before = timeline.count(last, start, "from") - 1
    if before < 0:
        raise TimelineMismatch(f"from: {label(start)} is not after the end of the series, {label(last)}")
    if before + request.horizon > MOST_STEPS:
        raise TimelineMismatch(
            f"from: {label(start)} is too far after the end of the series, {label(last)}; the horizon may "
            f"end {MOST_STEPS:,} steps after it"
        )
    return before


def _exog(
    model: Forecaster, timeline: Timeline, given: Table | None, steps: Sequence[Any]
) -> "pd.DataFrame | None":
    import pandas as pd  # noqa: PLC0415 - the front imports this module, and no such library

    names = tuple(model.exog_names)
    if not names:
        return None
    columns = dict(given or {})
    times = columns.pop(TIME, None)
    span = f"{len(steps)} steps, {label(steps[0])} to {label(steps[-1])}"
    needed = f"the model needs {', '.join(names)} for {span}"
    if given is None:
        raise FeatureMismatch(
            f"exog is missing: column{'s' * (len(names) > 1)} {', '.join(names)}; {needed}"
        )
    check_same(columns, names, "exog: ")
    rows = len(next(iter(columns.values())))
    if times is not None:
        seen = [
            timeline.one(value, f"exog: row {number}, column {TIME!r}")
            for number, value in enumerate(times)
        ]
        for number, (step, wanted) in enumerate(zip(seen, steps, strict=False)):
            if step != wanted:
                where = f"exog: row {number}, column {TIME!r}"
                raise TimelineMismatch(f"{where}: {label(step)}, wanted {label(wanted)}; {needed}")
    if rows != len(steps):
        lacking = f"; {label(steps[rows])} is the first one missing" if rows < len(steps) else ""
        raise FeatureMismatch(f"exog has {rows} rows, and {needed}{lacking}")
    return _frame(columns, pd.Index(steps), "exog", names)


def _frame(columns: Table, index: "pd.Index[Any]", what: str, names: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - as above

    for name in names:
        check_numbers(columns[name], what, name)
    return pd.DataFrame({name: np.asarray(columns[name], np.float64) for name in names}, index=index)


def _checked(model: Forecaster, call: Callable[[], Any]) -> Any:
    try:
        return surroundings.kept(call)
    except TenantryError:
        raise
    except ValueError as error:
        raise FeatureMismatch(f"the model refused this request: {error}") from error
    except BaseException as error:  # sys.exit() in a model must not end the server
        name = type(model).__name__
        raise PredictionFailed(f"{name} raised {type(error).__name__}: {error}") from error


def _numbers(answered: Any, count: int, quantiles: Sequence[float], kind: str) -> Predictions:
    """Return mean and quantiles, float64, shape (count, 1 + quantiles)."""
    columns = list(getattr(answered, "columns", ()))
    wanted = [MEAN, *quantiles]
    missing = [name for name in wanted if name not in columns]
    if not hasattr(answered, "to_numpy") or missing:
        lacks = f" without the column {missing[0]!r}" if columns else ""
        raise PredictionFailed(f"{kind} returned a {type(answered).__name__}{lacks} for a forecast")
    if len(answered) != count:
        raise PredictionFailed(f"{kind} returned {len(answered)} rows for {count} steps")
    try:
        numbers: Predictions = answered[wanted].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionFailed(f"{kind} returned a forecast that is not numbers: {error}") from None
    return numbers
