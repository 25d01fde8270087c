"""Beyond a table of first steps: labels and numbers, by the rules that were proven."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tenantry.forecaster import VALUE
from tenantry_server.kernels.series.rule import NOTHING, REACH, Further, Numbers
from tenantry_server.rows.forecast_request import TIME, ForecastRequest

if TYPE_CHECKING:
    from tenantry_server.kernels.series.table import ForecastTable


def labels(table: "ForecastTable", asked: ForecastRequest, count: int) -> Sequence[Any]:
    """Return the labels of the first steps after the history, or after the series."""
    if asked.history is None and count <= len(table.labels):
        return table.labels[:count]
    calendar = (table.further or NOTHING).calendar
    if calendar is None:
        return ()
    place = 0 if asked.history is None else 1 + (calendar.place_of(asked.history[TIME][-1]) or 0)
    return calendar.labels(place, count)


def numbers(table: "ForecastTable", asked: ForecastRequest, count: int) -> Numbers:
    """Return the numbers of the first steps: shape (count, columns of the table)."""
    further, held = table.further or NOTHING, table.numbers[:count]
    made = np.zeros((count, table.numbers.shape[1]))
    made[: len(held)] = held
    more = count - len(held)
    if asked.history is not None and further.mean is not None:
        past = np.array(asked.history[VALUE][-REACH:], np.float64)
        made[:, 0] = further.mean.continued(past, count)
    elif more and further.mean is not None:
        made[len(held) :, 0] = further.mean.continued(table.numbers[:, 0], more)
    if more and asked.quantiles:
        made[len(held) :, 1] = _spread(table, further, count)[len(held) :]
    if asked.exog is not None:
        columns = np.array([asked.exog[name] for name in table.exog_names], np.float64)
        driven = further.effects @ columns
        made[:, 0] += further.mean.echoed(driven) if further.echoes and further.mean else driven
    return made


def _spread(table: "ForecastTable", further: Further, count: int) -> Numbers:
    variance: Numbers = table.numbers[:, 1] ** 2
    if further.spread is not None:
        later = further.spread.continued(variance, count - len(variance))
        variance = np.concatenate([variance, later])
    elif further.mean is not None:
        variance = variance[0] * further.mean.shocks(count)
    spread: Numbers = np.sqrt(variance)
    return spread
