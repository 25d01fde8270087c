"""Kernels of series on the wire: they come back as they were, and a forged one is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tenantry_server.kernels import arrays, unpacking
from tenantry_server.kernels.arrays import Malformed
from tenantry_server.kernels.series import wire
from tenantry_server.kernels.series.calendar import SECONDS, Calendar
from tenantry_server.kernels.series.rule import Further, Rule
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.rows.forecast_request import of_document

TABLE = ForecastTable(
    ["2026-11-30", "2026-12-01"], np.array([[1.0, 2.0], [3.0, np.nan]]), takes_quantiles=True
)

FURTHER = Further(
    Calendar("2026-11-30", SECONDS, 86_400),
    Rule(1.0, np.array([0.25, 0.5])),
    Rule(0.0, np.array([1.0])),
    fewest=2,
    effects=(0.5,),
    echoes=True,
)
LONG = ForecastTable(
    TABLE.labels, TABLE.numbers, takes_history=True, exog_names=("price",), further=FURTHER
)

FURTHER = Further(
    Calendar("2026-11-30", SECONDS, 86_400),
    Rule(1.0, np.array([0.25, 0.5])),
    Rule(0.0, np.array([1.0])),
    fewest=2,
    effects=(0.5,),
    echoes=True,
)
LONG = ForecastTable(
    TABLE.labels, TABLE.numbers, takes_history=True, exog_names=("price",), further=FURTHER
)


def test_a_table_of_forecasts_comes_back_as_it_was() -> None:
    for table in (
        TABLE,
        ForecastTable([7, 8], np.ones((2, 3)), (0.1, 0.9), only=1, takes_history=True, starts=False),
    ):
        other = unpacking.unpack(b"".join(wire.pack(table)))
        assert isinstance(other, ForecastTable)
        for name in ("labels", "quantiles", "only", "starts", "takes_history", "takes_quantiles"):
            assert getattr(other, name) == getattr(table, name)
        np.testing.assert_array_equal(other.numbers, table.numbers)
        assert other.feature_count is None


@pytest.mark.parametrize(
    "change",
    [
        {"labels": []},
        {"labels": ["2026-11-30"]},
        {"labels": ["2026-11-30", 3]},
        {"labels": ["2026-11-30", None]},
        {"labels": ["x" * 65, "y"]},
        {"labels": 5},
        {"labels": {"a": 1, "b": 2}},
        {"quantiles": [0.1, 0.9]},
        {"quantiles": [1.5]},
        {"quantiles": ["0.1"]},
        {"only": 3},
        {"only": True},
    ],
    ids=str,
)
def test_a_forged_table_of_forecasts_is_refused(change: dict[str, Any]) -> None:
    document, given = arrays.decode(b"".join(wire.pack(TABLE)))
    with pytest.raises(Malformed):
        unpacking.unpack(b"".join(arrays.encode(document | change, given)))


@pytest.mark.parametrize(
    "numbers", [np.ones(2), np.ones((3, 2)), np.ones((2, 3)), np.ones((2, 2), np.int64)]
)
def test_numbers_of_another_shape_are_refused(numbers: Any) -> None:
    document, _ = arrays.decode(b"".join(wire.pack(TABLE)))
    for given in ([numbers], [], [TABLE.numbers, numbers]):
        with pytest.raises(Malformed):
            unpacking.unpack(b"".join(arrays.encode(document, given)))


def test_a_table_is_no_part_of_another_kernel() -> None:
    document, given = arrays.decode(b"".join(wire.pack(TABLE)))
    head = {"names": None, "count": 0, "accepts_missing": False, "ignores_extra": False}
    with pytest.raises(Malformed):
        unpacking.unpack(
            b"".join(arrays.encode(head | {"kind": "picked", "used": [], "inner": document}, given))
        )


def test_what_is_known_beyond_a_table_comes_back_as_it_was() -> None:
    for known in (FURTHER, Further(effects=(2.0,)), replace(FURTHER, spread=None, spread_echoes=True)):
        table = ForecastTable(TABLE.labels, TABLE.numbers, exog_names=("price",), further=known)
        other = unpacking.unpack(b"".join(wire.pack(table)))
        assert isinstance(other, ForecastTable)
        assert other.exog_names == ("price",)
        assert repr(other.further) == repr(known)


@pytest.mark.parametrize(
    "change",
    [
        {"constants": [None, None]},
        {"constants": [None, 0.0]},
        {"constants": [1.0, None]},
        {"constants": [1, 0.0]},
        {"constants": [1.0]},
        {"fewest": 1},
        {"fewest": -1},
        {"fewest": 1 << 20},
        {"fewest": 2.0},
        {"effects": []},
        {"effects": [1]},
        {"effects": [None]},
        {"effects": [0.5, 0.5]},
        {"effects": {"price": 0.5}},
        {"calendar": ["2026-11-30", "seconds", 0]},
        {"calendar": ["2026-11-30", "seconds"]},
        {"calendar": ["2026-11-30", ["seconds"], 1]},
        {"calendar": ["9999-12-31", "seconds", 86_400]},
        {"calendar": ["2026-11-31", "seconds", 86_400]},
        {"calendar": ["2026-11-30", "months", 1]},
        {"calendar": [3, "seconds", 86_400]},
        {"calendar": ["2026-11-30" + "0" * 60, "seconds", 86_400]},
        {"calendar": 3},
    ],
    ids=str,
)
def test_what_is_forged_beyond_a_table_is_refused(change: dict[str, Any]) -> None:
    document, given = arrays.decode(b"".join(wire.pack(LONG)))
    forged = document | {"further": document["further"] | change}
    with pytest.raises(Malformed):
        unpacking.unpack(b"".join(arrays.encode(forged, given)))


@pytest.mark.parametrize(
    "weights",
    [np.ones(65), np.ones(3), np.ones(0), np.ones((2, 2)), np.ones(2, int), np.array([np.nan, 1])],
    ids=str,
)
def test_weights_that_a_table_can_not_go_on_with_are_refused(weights: Any) -> None:
    document, (numbers, mean, spread) = arrays.decode(b"".join(wire.pack(LONG)))
    for given in ([numbers, weights, spread], [numbers, mean, weights], [numbers, mean, spread, weights]):
        with pytest.raises(Malformed):
            unpacking.unpack(b"".join(arrays.encode(document, given)))


@pytest.mark.parametrize(
    "change",
    [
        {"exog_names": ["price", "price"]},
        {"exog_names": [3]},
        {"exog_names": "price"},
        {"exog_names": ["x" * 2000]},
        {"exog_names": [str(number) for number in range(1000)]},
        {"further": None},
        {"further": []},
    ],
    ids=lambda change: str(change)[:40],
)
def test_forged_columns_are_refused(change: dict[str, Any]) -> None:
    document, given = arrays.decode(b"".join(wire.pack(LONG)))
    with pytest.raises(Malformed):
        unpacking.unpack(b"".join(arrays.encode(document | change, given)))


def test_a_rule_that_grows_without_end_answers_no_number() -> None:
    """And nothing is raised in the server: only the forger's own tenant has no forecast."""
    grows = replace(FURTHER, mean=Rule(1e300, np.array([1e300])), fewest=1, effects=(1e300,))
    table = ForecastTable(
        TABLE.labels, TABLE.numbers, takes_history=True, exog_names=("price",), further=grows
    )
    past = {"time": ["2026-11-30"], "value": [1e300], "price": [1e300]}
    asked = of_document({"horizon": 300, "history": past, "exog": {"price": [1e300] * 300}})
    assert table.covers(asked)
    assert table.answer(asked)[-1, 1] is None
