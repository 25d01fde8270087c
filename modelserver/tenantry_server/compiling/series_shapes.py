"""Rules by which a series of numbers may go on: periods, lines, and steps that die down.

These are the forecasts of the simple models, each with a season or without: naive and seasonal naive ones
repeat, Holt's and Holt-Winters' add a line or multiply one, a damped trend and an autoregression of one lag
die down.
"""

from collections.abc import Iterator

import numpy as np

from tenantry_server.kernels.series.rule import MOST_LAGS, Numbers, Rule

_CLOSE = 1e-9  # of the size of the series
_BEGUN = 8  # steps in which a moving average may still count
_FEWEST = 4  # equations that have to agree


def rules_of(series: Numbers) -> Iterator[Rule]:
    """Yield the rules by which a series is continued, those with the fewest lags first.

    Example:
        >>> rule = next(rules_of(np.tile([1.0, 5.0, 3.0], 8)))
        >>> rule.continued(np.array([1.0, 5.0, 3.0]), 4).tolist()
        [1.0, 5.0, 3.0, 1.0]
    """
    if not np.isfinite(series).all():
        return
    close = _CLOSE * float(np.abs(series).max(initial=0.0))
    for season in range(1, min(MOST_LAGS, len(series) - _BEGUN - _FEWEST) + 1):
        grown = (series[season:] - series[:-season])[_BEGUN:]
        constant = float(grown.mean())
        if np.abs(grown - constant).max() <= close:
            exact = 0.0 if abs(constant) <= 1e-3 * close else constant
            yield Rule(exact, _weights({season: 1.0}))
        elif 2 * season + _BEGUN + _FEWEST <= len(series) and 2 * season <= MOST_LAGS:
            before, after = grown[:-season], grown[season:]
            ratio = float(before @ after / (before @ before))
            if abs(ratio) > 1 + _CLOSE or np.abs(after - ratio * before).max() > close:
                continue
            if season == 1 and ratio < 1 - _CLOSE:  # this form does not add up its own rounding
                yield Rule(float((series[1:] - ratio * series[:-1])[_BEGUN:].mean()), _weights({1: ratio}))
            else:
                yield Rule(0.0, _weights({season: 1 + ratio, 2 * season: -ratio}))


def _weights(of_lags: dict[int, float]) -> Numbers:
    weights = np.zeros(max(of_lags))
    for lag, weight in of_lags.items():
        weights[-lag] = weight
    return weights
