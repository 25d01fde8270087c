"""Kernels of series as bytes between processes; read as a stranger's, who may have written them."""

from typing import Any

from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Array, Buffer, Malformed
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.kernels.wire_names import Fields
from tenantry_server.rows.forecast_request import MOST_STEPS

KIND = "forecast table"
_LONGEST_LABEL = 64
_FLAGS = ("takes_quantiles", "takes_history", "starts")


def pack(table: ForecastTable) -> list[Buffer]:
    """Write a table."""
    fields: Fields = {
        "kind": KIND,
        "labels": table.labels,
        "quantiles": table.quantiles,
        "only": int(table.only),
    }
    flags = {name: bool(getattr(table, name)) for name in _FLAGS}
    return arrays.encode(fields | flags, [table.numbers])


def read(fields: Fields, given: list[Array]) -> ForecastTable:
    """Read a table that may have been written by anybody.

    Raises:
        Malformed: it is none, or one whose parts don't fit.
        KeyError, TypeError, ValueError: a part is missing, or is of another type.
    """
    labels, quantiles, only = _labels(fields["labels"]), fields["quantiles"], fields["only"]
    if not all(type(each) is float and 0 < each < 1 for each in quantiles):
        raise Malformed("quantiles that are not between 0 and 1")
    (numbers,) = given
    columns = {1 + len(quantiles)} if quantiles else {1, 2}
    if numbers.dtype != float or numbers.ndim != 2 or len(numbers) != len(labels):
        raise Malformed(f"numbers of {numbers.dtype}{numbers.shape} for {len(labels)} steps")
    if numbers.shape[1] not in columns:
        raise Malformed(f"{numbers.shape[1]} columns for {len(quantiles)} quantiles")
    if type(only) is not int or not 0 <= only <= len(labels):
        raise Malformed(f"quantiles of a horizon of {only!r}")
    flags = {name: bool(fields[name]) for name in _FLAGS}
    return ForecastTable(labels, numbers, quantiles, only=only, **flags)


def _labels(given: Any) -> list[Any]:
    if type(given) is not list or not 0 < len(given) <= MOST_STEPS:
        raise Malformed("no steps, or too many")
    if not any(all(type(each) is kind for each in given) for kind in (str, int)):
        raise Malformed("its labels are neither texts nor numbers of steps")
    if any(len(str(each)) > _LONGEST_LABEL for each in given):
        raise Malformed("a label that is too long for a time")
    return given
