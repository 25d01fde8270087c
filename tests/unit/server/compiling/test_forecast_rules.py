"""What a kernel answers beyond its table: histories, exogenous columns, longer horizons; proven or left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tenantry import Forecaster
from tenantry_server.compiling import forecast_tables
from tenantry_server.compiling.forecast_tables import Claims
from tenantry_server.kernels import unpacking
from tenantry_server.kernels.base import CannotCompile
from tenantry_server.kernels.series import wire
from tenantry_server.kernels.series.rule import REACH
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows.forecast_request import ForecastRequest, of_document
from tenantry_server.scoring import forecasts

RANDOM = np.random.default_rng(3)
OWN = 50 + RANDOM.normal(size=40)
LAST = pd.Timestamp("2026-11-29")
NORMAL = forecast_tables._NORMAL


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, these forecasters count as quick."""
    monkeypatch.setattr(forecast_tables, "_SLOW_S", float("inf"))
    monkeypatch.setattr("tenantry_server.compiling.forecast_rules._MOST_S", float("inf"))


class Auto(Forecaster):
    """An autoregression.

    Args:
        weights: of earlier values, by lag.
        effects: of exogenous columns; they pass on to later steps.
        fewest: rows of a history.
    """

    frequency: str | None = "D"
    last_time: Any = LAST
    takes_history = True
    takes_quantiles = True

    def __init__(
        self,
        weights: dict[int, float],
        constant: float = 0.0,
        effects: Sequence[float] = (),
        fewest: int = 0,
    ) -> None:
        self.weights, self.constant, self.effects = weights, constant, effects
        self.fewest = fewest or max(weights)
        self.exog_names = tuple(f"x{number}" for number in range(len(effects)))

    def forecast(
        self,
        horizon: int,
        *,
        history: pd.DataFrame | None = None,
        exog: pd.DataFrame | None = None,
        quantiles: Sequence[float] = (),
    ) -> pd.DataFrame:
        values = OWN if history is None else history["value"].to_numpy()
        if len(values) < self.fewest:
            raise ValueError(f"it needs {self.fewest} rows")
        driven = np.zeros(horizon) if exog is None else exog.to_numpy() @ np.array(self.effects)
        made = pd.DataFrame({"mean": self.mean(list(values), driven)})
        for q in quantiles:
            made[q] = made["mean"] + self.spread(horizon, values) * NORMAL.inv_cdf(q)
        return made

    def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:
        for added in driven:
            step = sum(weight * values[-lag] for lag, weight in self.weights.items())
            values.append(self.constant + added + step)
        return values[-len(driven) :]

    def spread(self, horizon: int, values: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002 - others use it
        shocks = [0.0] * (max(self.weights) - 1) + [1.0]
        for _ in range(horizon):
            shocks.append(sum(weight * shocks[-lag] for lag, weight in self.weights.items()))
        spread: npt.NDArray[np.float64] = np.sqrt(
            np.cumsum(np.square(shocks[max(self.weights) - 1 :][:horizon]))
        )
        return spread


class Regression(Auto):
    """What its exogenous columns do is over with their step."""

    def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:
        return list(super().mean(values, np.zeros(len(driven))) + driven)


class OfItsPlace(Auto):
    """It counts the rows of its history, as a trend does."""

    def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:
        return super().mean([*values[:-1], values[-1] + 0.01 * len(values)], driven)


class Smoothing(Auto):
    """It never quite forgets what was long ago."""

    def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:
        level = values[0]
        for value in values[1:]:
            level += 0.1 * (value - level)
        return [level] * len(driven)


class Squared(Auto):
    """It says that it adds up, and does not."""

    def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:
        return [values[-1] ** 2 / 50 + each**2 for each in driven]


class Estimating(Auto):
    """Its spread is another one after another history."""

    def spread(self, horizon: int, values: Any) -> npt.NDArray[np.float64]:
        return super().spread(horizon, values) * float(np.std(values))


def kernel_of(model: Forecaster, *, affine: bool = True, local: bool = False) -> ForecastTable:
    claims = Claims(model.takes_quantiles, model.takes_history, tuple(model.exog_names), affine, local)
    table = forecast_tables.table_of(lambda asked: forecasts.forecast(model, asked), claims, None)
    sent = unpacking.unpack(b"".join(wire.pack(table)))
    assert isinstance(sent, ForecastTable)
    return sent


def history(count: int, first: str = "2026-03-01", frequency: str = "D", **more: Any) -> dict[str, Any]:
    times = [str(time.date()) for time in pd.date_range(first, periods=count, freq=frequency)]
    return {"time": times, "value": (50 + 10 * RANDOM.normal(size=count)).tolist(), **more}


def exog(names: Sequence[str], count: int) -> dict[str, list[float]] | None:
    return {name: (7 * RANDOM.normal(size=count)).tolist() for name in names} or None


def check(model: Forecaster, kernel: ForecastTable, **asked: Any) -> None:
    """Assert that the kernel answers this, and as the original does."""
    request = of_document(asked)
    assert kernel.covers(request), asked
    seen, expected = kernel.answer(request), forecasts.forecast(model, request)
    assert seen[:, 0].tolist() == expected[:, 0].tolist()
    np.testing.assert_allclose(seen[:, 1:].astype(float), expected[:, 1:].astype(float), rtol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        Auto({1: 1.0}),  # naive
        Auto({7: 1.0}),  # seasonal naive
        Auto({1: 0.6, 2: -0.3}, 20),
        Auto({1: 0.3, 7: 0.5}, 9, fewest=16),
        Auto({1: 0.5, 12: 0.2}, 3, (2.0, -0.5)),
        Regression({1: 0.5}, 3, (2.0,)),
    ],
)
def test_a_kernel_goes_on_from_a_history_and_past_its_table(model: Auto) -> None:
    kernel, names = kernel_of(model), model.exog_names
    for horizon in (1, 14, forecast_tables.STEPS + 1, REACH):
        check(model, kernel, horizon=horizon, exog=exog(names, horizon), quantiles=[0.1, 0.5])
    start = {"from": "2027-06-01"}
    check(model, kernel, horizon=5, exog=exog(names, 188), **start)
    for rows in (model.fewest, 50, REACH):
        past = history(rows) | (exog(names, rows) or {})
        for horizon in (1, 30, 300):
            asked = {"horizon": horizon, "exog": exog(names, horizon), "quantiles": [0.01, 0.9]}
            check(model, kernel, history=past, **asked)
    assert not kernel.covers(
        of_document({"horizon": 1, "history": history(model.fewest - 1), "exog": exog(names, 1)})
        if model.fewest > 1
        else of_document({"horizon": REACH + 1, "exog": exog(names, REACH + 1)})
    )
    assert kernel.own_bytes() < 2560


def test_a_repeated_value_is_the_very_value() -> None:
    """To the last bit: nothing is computed with it."""
    kernel, past = kernel_of(Auto({7: 1.0})), history(30)
    seen = kernel.answer(of_document({"horizon": 14, "history": past}))
    assert seen[:, 1].tolist() == past["value"][-7:] * 2


@pytest.mark.parametrize("model", [OfItsPlace({1: 0.5}), Smoothing({1: 1.0}), Squared({1: 1.0})])
def test_a_history_that_does_otherwise_is_the_originals(model: Auto) -> None:
    kernel = kernel_of(model)
    assert kernel.covers(of_document({"horizon": 14}))
    assert not kernel.covers(of_document({"horizon": 14, "history": history(50)}))


def test_without_the_claim_that_it_adds_up_nothing_is_tried() -> None:
    """A tree looks like a constant where nobody asked it."""
    assert not kernel_of(Auto({1: 0.5}), affine=False).covers(
        of_document({"horizon": 1, "history": history(50)})
    )
    with pytest.raises(CannotCompile, match="nobody says"):
        kernel_of(Auto({1: 0.5}, effects=(1.0,)), affine=False)


def test_exogenous_columns_that_do_not_add_up_stay_with_their_library() -> None:
    model = Squared({1: 1.0}, effects=(1.0,))
    with pytest.raises(CannotCompile, match="do not add up"):
        kernel_of(model)


def test_a_spread_that_the_history_changes_is_the_originals() -> None:
    model = Estimating({1: 0.5}, 3)
    kernel, past = kernel_of(model), history(50)
    check(model, kernel, horizon=3, history=past)
    assert not kernel.covers(of_document({"horizon": 3, "history": past, "quantiles": [0.9]}))


@pytest.mark.parametrize(
    "forecast",
    [
        lambda h: np.tile([3.0, 5.0, 4.0], h)[:h],
        lambda h: 7 + 0.25 * np.arange(h) + np.tile([3.0, 5.0, 4.0, 0.0], h)[:h],
        lambda h: 7 + np.cumsum(0.9 ** np.arange(h)) + np.tile([3.0, 5.0], h)[:h],
        lambda h: 40 + 5 * 0.7 ** np.arange(h),
        lambda h: np.arange(h) // 7 * 1.0,
    ],
)
def test_shapes_of_exponential_smoothing_go_on_without_a_history(forecast: Any) -> None:
    class Shaped(Auto):
        takes_history = False

        def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:  # noqa: ARG002
            return list(forecast(len(driven)))

        def spread(self, horizon: int, values: Any) -> npt.NDArray[np.float64]:  # noqa: ARG002
            return np.sqrt(1 + np.arange(horizon) // 3)

    model = Shaped({1: 1.0})
    kernel = kernel_of(model, affine=False)
    for horizon in (65, 200, REACH):
        check(model, kernel, horizon=horizon, quantiles=[0.1, 0.9])
    assert not kernel.covers(ForecastRequest(horizon=REACH + 1))
    assert not kernel.covers(of_document({"horizon": REACH, "from": "2026-12-01"}))


def test_what_changes_its_mind_later_has_only_its_table() -> None:
    class Later(Auto):
        takes_history = False

        def mean(self, values: list[float], driven: npt.NDArray[np.float64]) -> list[float]:  # noqa: ARG002
            return [1.0 + (step > 900) for step in range(len(driven))]

    assert not kernel_of(Later({1: 1.0})).covers(ForecastRequest(horizon=65))


def test_times_of_a_zone_whose_days_differ_are_the_originals() -> None:
    model = Auto({1: 0.5})
    model.last_time = LAST.tz_localize("Europe/Oslo")
    kernel = kernel_of(model, local=True)
    assert kernel.covers(of_document({"horizon": forecast_tables.STEPS}))
    assert not kernel.covers(of_document({"horizon": forecast_tables.STEPS + 1}))
    zoned = Auto({1: 0.5})
    zoned.last_time = LAST.tz_localize("UTC")
    kernel = kernel_of(zoned)
    times = ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"]
    check(zoned, kernel, horizon=100, history={"time": times, "value": [3, 4]})
    assert not kernel.covers(of_document({"horizon": 1, "history": history(5)}))


@pytest.mark.parametrize(
    "change",
    [
        lambda past: [values.pop(3) for values in past.values()],  # a gap
        lambda past: past["time"].__setitem__(3, past["time"][2]),
        lambda past: past["time"].reverse(),
        lambda past: past.update(history(10, frequency="h")),
        lambda past: past.update(history(10, frequency="W")),
        lambda past: past["time"].__setitem__(3, past["time"][3] + "T00:00"),
        lambda past: past.update(time=[f"{day}T06:00:00" for day in past["time"]]),
        lambda past: past.update(time=[f"{day}T00:00:00+01:00" for day in past["time"]]),
        lambda past: past.update(time=list(range(10))),
        lambda past: past["value"].__setitem__(3, None),
        lambda past: past["value"].__setitem__(3, True),
        lambda past: past["value"].__setitem__(3, "4"),
        lambda past: past["value"].__setitem__(3, float("nan")),
        lambda past: past.pop("time"),
        lambda past: past.pop("x0"),
        lambda past: past.update(x1=past["x0"]),
    ],
)
def test_what_is_wrong_with_a_history_is_for_the_original_to_say(change: Any) -> None:
    model = Auto({1: 0.5}, effects=(1.0,))
    kernel, past = kernel_of(model), history(10, x0=[1.0] * 10)
    asked = {"horizon": 2, "exog": {"x0": [1.0, 2.0]}}
    assert kernel.covers(of_document(asked | {"history": past}))
    change(past)
    assert not kernel.covers(of_document(asked | {"history": past}))


@pytest.mark.parametrize(
    "given",
    [
        None,
        {"x0": [1.0]},
        {"x0": [1.0, 2.0, 3.0]},
        {"x0": [1.0, None]},
        {"x0": [1.0, True]},
        {"x0": [1.0, 2.0], "x1": [1.0, 2.0]},
        {"x1": [1.0, 2.0]},
        {"x0": [1.0, 2.0], "time": ["2026-11-30", "2026-12-02"]},
        {"x0": [1.0, 2.0], "time": ["2026-11-30T00:00", "2026-12-01"]},
        {"time": ["2026-11-30", "2026-12-01"]},
    ],
)
def test_what_is_wrong_with_exogenous_columns_is_for_the_original_to_say(given: Any) -> None:
    model = Auto({1: 0.5}, effects=(1.0,))
    kernel = kernel_of(model)
    check(model, kernel, horizon=2, exog={"x0": [1.0, 2], "time": ["2026-11-30", "2026-12-01"]})
    assert not kernel.covers(of_document({"horizon": 2, "exog": given}))
