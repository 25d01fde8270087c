"""Tables of forecasts: each answers as its forecaster does, or is not made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry import Forecaster
from tenantry.errors import FeatureMismatch, InvalidRequest, OnlyForecasts
from tenantry_server.compiling import forecast_tables
from tenantry_server.compiling.forecast_tables import Claims
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.series.rule import REACH
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows.forecast_request import ForecastRequest, of_document
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring import forecasts
from tenantry_server.scoring.calls import score

LAST = pd.Timestamp("2026-11-29")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, these forecasters count as quick."""
    monkeypatch.setattr(forecast_tables, "_SLOW_S", float("inf"))


class Made(Forecaster):
    """Answers what the function that it was made with says.

    Args:
        mean: from a horizon to as many numbers.
        spread: of its quantiles, from a horizon to as many numbers; None: it has none.
        most: steps that it can forecast.
    """

    frequency: str | None = "D"
    last_time: Any = LAST

    def __init__(self, mean: Any, spread: Any = None, most: int = 10_000) -> None:
        self.mean, self.spread, self.most = mean, spread, most
        self.takes_quantiles = spread is not None
        self.asked = 0

    def forecast(self, horizon: int, *, quantiles: Sequence[float] = (), **_: Any) -> pd.DataFrame:
        self.asked += 1
        if horizon > self.most:
            raise ValueError(f"it was fitted for {self.most} steps")
        mean = np.asarray(self.mean(horizon), float)
        made = pd.DataFrame({"mean": mean})
        for q in quantiles:
            made[q] = mean + self.spread(horizon) * forecast_tables._NORMAL.inv_cdf(q)
        return made


class Skewed(Made):
    """Its quantiles are those of no normal distribution."""

    def forecast(self, horizon: int, *, quantiles: Sequence[float] = (), **_: Any) -> pd.DataFrame:
        made = super().forecast(horizon)
        for q in quantiles:
            made[q] = made["mean"] + self.spread(horizon) * q**3
        return made


def steps(horizon: int) -> Any:
    return np.arange(1, horizon + 1, dtype=float)


def table_of(model: Forecaster, example: dict[str, Any] | None = None) -> ForecastTable:
    return forecast_tables.table_of(
        lambda asked: forecasts.forecast(model, asked),
        Claims(quantiles=model.takes_quantiles, history=model.takes_history),
        None if example is None else of_document(example),
    )


def check(model: Forecaster, table: ForecastTable, **asked: Any) -> None:
    request = of_document(asked)
    assert table.covers(request)
    seen, expected = score(table, request), forecasts.forecast(model, request)
    assert seen[:, 0].tolist() == expected[:, 0].tolist()
    for one, other in zip(seen[:, 1:].ravel().tolist(), expected[:, 1:].ravel().tolist(), strict=True):
        assert one == (None if other is None else pytest.approx(other, rel=1e-9))


@pytest.mark.parametrize("frequency", ["D", "h", "MS", "W-SUN", None])
def test_a_table_answers_every_shorter_horizon_from_every_step(frequency: str | None) -> None:
    model = Made(lambda h: 1000 * np.sin(steps(h)), lambda h: np.sqrt(steps(h)))
    model.frequency = frequency
    model.last_time = {None: 41, "MS": pd.Timestamp("2026-11-01", tz="Europe/Oslo")}.get(frequency, LAST)
    table = table_of(model)
    for horizon in range(1, forecast_tables.STEPS + 1):
        check(model, table, horizon=horizon, quantiles=[0.0123, 0.5, 0.9])
    for first in range(forecast_tables.STEPS):
        check(model, table, horizon=1, **{"from": table.labels[first]})
    assert table.own_bytes() < 2048


@pytest.mark.parametrize(
    "asked",
    [
        {"horizon": REACH + 1},
        {"horizon": REACH, "from": "2026-12-01"},
        {"horizon": 1, "from": "2026-12-01T00:00"},  # the same time, written otherwise
        {"horizon": 1, "from": "2026-11-01"},
        {"horizon": 1, "from": 3},
        {"horizon": 1, "quantiles": [0.12345678]},  # some libraries round it
    ],
)
def test_anything_else_is_the_originals(asked: dict[str, Any]) -> None:
    table = table_of(Made(steps, np.ones))
    assert table.covers(of_document({"horizon": 14}))
    assert not table.covers(of_document(asked))


def test_what_the_original_refuses_the_table_refuses() -> None:
    table = table_of(Made(steps))
    history = {"time": ["2026-11-30"], "value": [1]}
    for asked, kind in (
        ({"quantiles": [0.5]}, InvalidRequest),
        ({"history": history}, InvalidRequest),
        ({"exog": {"price": [1]}}, FeatureMismatch),
    ):
        with pytest.raises(kind) as seen:
            table.covers(of_document({"horizon": 1, **asked}))
        with pytest.raises(kind) as own:
            forecasts.forecast(Made(steps), of_document({"horizon": 1, **asked}))
        assert str(seen.value) == str(own.value)
    with pytest.raises(OnlyForecasts):
        score(table, parse(b'[{"a": 1}]'))
    model = Made(steps)
    model.takes_history = True
    assert not table_of(model).covers(of_document({"horizon": 1, "history": history}))


@pytest.mark.parametrize(
    "mean",
    [
        lambda h: np.random.default_rng().normal(size=h),  # drawn
        lambda h: steps(h) * (1 + 1e-13 * np.random.default_rng().normal()),  # no more than rounding
        lambda h: np.full(h, float(h)),  # of the whole horizon
        lambda h: steps(h) + (1e-6 if h > 20 else 0),
        lambda h: steps(h) + np.where((steps(h) > 5) & (steps(h) < 15) & (h > 30), 1e-6, 0),
    ],
)
def test_what_depends_on_more_than_the_step_stays_with_its_library(mean: Any) -> None:
    with pytest.raises(CannotCompile):
        table_of(Made(mean))


def test_what_fails_for_a_shorter_horizon_stays_with_its_library() -> None:
    class Exactly(Made):
        def forecast(self, horizon: int, **more: Any) -> pd.DataFrame:
            if horizon != 14:
                raise ValueError("it was fitted for 14 steps")
            return super().forecast(horizon, **more)

    with pytest.raises(CannotCompile, match="every shorter horizon"):
        table_of(Exactly(steps))


def test_a_horizon_that_it_was_fitted_for_is_the_longest() -> None:
    direct = Made(steps, most=14)
    table = table_of(direct)
    check(direct, table, horizon=14)
    assert not table.covers(ForecastRequest(horizon=15))


def test_missing_numbers_stay_missing() -> None:
    model = Made(lambda h: np.where(steps(h) % 3 == 0, np.nan, steps(h)), np.ones)
    table = table_of(model)
    for horizon in (1, 3, 14):
        check(model, table, horizon=horizon)
    assert table.answer(ForecastRequest(horizon=3))[2, 1] is None


def test_quantiles_of_another_distribution_are_columns() -> None:
    model = Skewed(steps, lambda h: np.sqrt(steps(h)))
    table = table_of(model)
    check(model, table, horizon=20, quantiles=[0.025, 0.5, 0.9])
    assert not table.covers(of_document({"horizon": 1, "quantiles": [0.3]}))
    wide = table_of(model, {"horizon": 100, "quantiles": [0.3, 0.7]})
    check(model, wide, horizon=100, quantiles=[0.3, 0.7])
    check(model, wide, horizon=5, quantiles=[0.05, 0.3])


def test_quantiles_of_a_whole_horizon_hold_for_what_the_card_asks() -> None:
    """Such as simulated ones, and those of a library that derives them from the last step."""
    for kind in (Skewed, Made):
        assert table_of(kind(steps, lambda h: np.full(h, float(h)))).numbers.shape[1] == 1
    model = Skewed(steps, lambda h: np.full(h, float(h)))
    table = table_of(model, {"horizon": 14, "quantiles": [0.1, 0.9]})
    check(model, table, horizon=14, quantiles=[0.1, 0.9])
    check(model, table, horizon=14, quantiles=[0.9])
    check(model, table, horizon=33)
    for other in ({"horizon": 13}, {"horizon": 14, "from": "2026-12-01"}, {"horizon": 15}):
        assert not table.covers(of_document(other | {"quantiles": [0.1]}))


def test_a_slow_forecaster_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_tables, "_SLOW_S", -1.0)
    model = Made(steps)
    assert len(table_of(model).labels) == 28
    assert model.asked < 10
    assert len(table_of(model, {"horizon": 40}).labels) == 40


def test_a_card_that_asks_with_a_history_says_how_it_is_used() -> None:
    model = Made(steps)
    model.takes_history = True
    history = {"time": ["2026-12-01"], "value": [1]}
    with pytest.raises(CannotCompile, match="with a history"):
        table_of(model, {"horizon": 1, "history": history})
