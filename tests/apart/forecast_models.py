"""Series, and what is expected of every library's model of them."""

import io
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
import pandas as pd

from tenantry import ModelId
from tenantry_server.formats import load_model
from tenantry_server.formats.adapters import compiled
from tenantry_server.kernels import unpacking
from tenantry_server.kernels.series import wire
from tenantry_server.rows.forecast_request import of_document
from tenantry_server.scoring.calls import score
from tenantry_server.scoring.timelines import label

QUANTILES = (0.1, 0.5, 0.9)
STEPS = 120


def daily(zone: str | None = None) -> "pd.Series[float]":
    """Demand that repeats each week, to 2026-11-28."""
    index = pd.date_range("2026-08-01", periods=STEPS, freq="D", tz=zone)
    noise = np.random.default_rng(0).normal(0, 1, STEPS)
    return pd.Series(50 + 5 * np.sin(np.arange(STEPS) * 2 * np.pi / 7) + noise, index=index, name="demand")


def prices(steps: int = STEPS) -> pd.DataFrame:
    """An exogenous column from the first day of `daily` on."""
    index = pd.date_range("2026-08-01", periods=steps, freq="D")
    return pd.DataFrame({"price": np.linspace(1, 2, steps)}, index=index)


def served(fitted: Any, **how: Any) -> Any:
    """The model as a server loads it from a joblib file."""
    file = io.BytesIO()
    joblib.dump(fitted, file)
    return load_model(file.getvalue(), ModelId("file:///m.joblib", **how))


def answer(model: Any, horizon: int, **more: Any) -> tuple[list[Any], Any]:
    """The labels of the steps, and means and quantiles, shape (horizon, 1 + quantiles)."""
    made = score(model, of_document({"horizon": horizon, **more}))
    return made[:, 0].tolist(), made[:, 1:].astype(float)


def check(
    fitted: Any,
    mean: Any,
    *,
    quantiles: Any = None,
    first: Any = "2026-11-29",
    kernel: bool = True,
    **more: Any,
) -> Any:
    """Assert that a server answers what the library itself does, and so does its kernel; returns the model.

    Args:
        mean: of each step, by the library itself.
        quantiles: of QUANTILES by the library itself, shape (steps, 3); None: it has none.
        kernel: whether it has one.
    """
    model = served(fitted)
    labels, numbers = answer(model, len(mean), **more)
    assert labels[0] == first
    np.testing.assert_allclose(numbers[:, 0], np.asarray(mean, float).ravel(), rtol=1e-12)
    assert model.takes_quantiles is (quantiles is not None)
    if quantiles is not None:
        _, several = answer(model, len(mean), quantiles=list(QUANTILES), **more)
        np.testing.assert_allclose(several[:, 1:], np.asarray(quantiles, float), rtol=1e-9)
        assert (several[:, 1] < several[:, 2]).all()
        assert (several[:, 2] < several[:, 3]).all()
    if not model.exog_names or getattr(model, "is_affine", False):
        table = compiled.table_of(model, None)
        assert (table is not None) is kernel
        if table is not None:
            agree(model, table)
            agree_beyond(model, table)
    return model


def agree(model: Any, table: Any, *horizons: int) -> None:
    """Assert that a table that a worker sends answers as the model that it was made from."""
    sent: Any = unpacking.unpack(b"".join(wire.pack(table)))
    steps = len(table.labels)
    for horizon in horizons or (1, 3, 14, steps):
        for quantiles in ([], list(QUANTILES)):
            asked = of_document(
                {"horizon": horizon, "quantiles": quantiles if model.takes_quantiles else []}
            )
            if horizon > steps or not sent.covers(asked):
                continue
            seen, own = score(sent, asked), score(model, asked)
            assert seen[:, 0].tolist() == own[:, 0].tolist()
            np.testing.assert_allclose(seen[:, 1:].astype(float), own[:, 1:].astype(float), rtol=1e-9)


def agree_beyond(model: Any, table: Any) -> list[str]:
    """Assert that what a kernel answers beyond its table is the model's answer; return what it answers."""
    sent: Any = unpacking.unpack(b"".join(wire.pack(table)))
    random = np.random.default_rng(11)
    index = pd.date_range("2025-03-01", periods=60, freq="D")
    times: Any = [label(each) for each in index] if model.frequency is not None else list(range(60))
    past = {"time": times, "value": (50 + 8 * random.normal(size=60)).tolist()}
    past |= {name: random.uniform(1, 3, 60).tolist() for name in model.exog_names}
    ways: dict[str, dict[str, Any]] = {
        "far": {"horizon": 300},
        "far quantiles": {"horizon": 300, "quantiles": [0.05, 0.9]},
        "exog": {"horizon": 20},
        "exog quantiles": {"horizon": 20, "quantiles": [0.05, 0.9]},
        "history": {"horizon": 100, "history": past},
        "history quantiles": {"horizon": 100, "history": past, "quantiles": [0.05, 0.9]},
    }
    answered = []
    for name, asked in ways.items():
        if ("history" in asked and not model.takes_history) or ("exog" in name and not model.exog_names):
            continue
        if "quantiles" in asked and not model.takes_quantiles:
            continue
        if model.exog_names:
            given = {each: random.uniform(1, 3, asked["horizon"]).tolist() for each in model.exog_names}
            asked["exog"] = given
        request = of_document(asked)
        if sent.covers(request):
            seen, own = sent.answer(request), score(model, request)
            assert seen[:, 0].tolist() == own[:, 0].tolist()
            np.testing.assert_allclose(seen[:, 1:].astype(float), own[:, 1:].astype(float), rtol=1e-9)
            answered.append(name)
    return answered


def ends(lower: Any, middle: Any, upper: Any) -> Any:
    """QUANTILES from an interval of 80 % and what lies in its middle."""
    return np.column_stack([np.asarray(each, float) for each in (lower, middle, upper)])


def records(frame: pd.DataFrame) -> Sequence[dict[str, Any]]:
    """Rows as a request brings them."""
    return frame.to_dict("records")  # type: ignore[return-value]
