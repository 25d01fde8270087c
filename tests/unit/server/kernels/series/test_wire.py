"""Kernels of series on the wire: they come back as they were, and a forged one is refused."""

from typing import Any

import numpy as np
import pytest

from tenantry_server.kernels import arrays, unpacking
from tenantry_server.kernels.arrays import Malformed
from tenantry_server.kernels.series import wire
from tenantry_server.kernels.series.table import ForecastTable

TABLE = ForecastTable(
    ["2026-11-30", "2026-12-01"], np.array([[1.0, 2.0], [3.0, np.nan]]), takes_quantiles=True
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
