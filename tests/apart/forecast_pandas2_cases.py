"""Forecasts of libraries that refuse our pandas, run with pandas 2: sktime and skforecast."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from skforecast.direct import ForecasterDirect
from skforecast.recursive import ForecasterRecursive, ForecasterRecursiveMultiSeries
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from sktime.forecasting.compose import make_reduction
from sktime.forecasting.naive import NaiveForecaster
from sktime.forecasting.trend import TrendForecaster
from sktime.transformations.series.detrend import Detrender

from tenantry.errors import ArtifactInvalid
from tests.apart.forecast_models import QUANTILES, STEPS, answer, check, daily, prices, records, served

Y = daily()
H = 5
FUTURE = prices(STEPS + H).iloc[STEPS:]


def test_sktime() -> None:
    naive = NaiveForecaster(sp=7).fit(Y)
    steps = list(range(1, H + 1))
    check(
        naive, naive.predict(fh=steps), quantiles=naive.predict_quantiles(fh=steps, alpha=list(QUANTILES))
    )
    trend = TrendForecaster().fit(Y)
    check(trend, trend.predict(fh=steps))
    priced = make_reduction(Ridge(), window_length=7, strategy="recursive").fit(Y, X=prices())
    model = check(priced, priced.predict(fh=steps, X=FUTURE), exog=records(FUTURE))
    assert model.exog_names == ("price",)
    months = Y.set_axis(pd.period_range("2017-01", periods=STEPS, freq="M"))
    by_month = NaiveForecaster(sp=12).fit(months)
    quantiles = by_month.predict_quantiles(fh=steps, alpha=list(QUANTILES))
    check(by_month, by_month.predict(fh=steps), quantiles=quantiles, first="2027-01-01")
    numbered = TrendForecaster().fit(Y.reset_index(drop=True))
    check(numbered, numbered.predict(fh=steps), first=STEPS)


def test_skforecast() -> None:
    plain = ForecasterRecursive(estimator=Ridge(), lags=7)
    plain.fit(y=Y, store_in_sample_residuals=True)
    model = check(plain, plain.predict(H), quantiles=plain.predict_quantiles(H, quantiles=list(QUANTILES)))
    later = Y.iloc[-14:].set_axis(pd.date_range("2027-01-01", periods=14, freq="D"))
    history = {"time": [str(day.date()) for day in later.index], "value": later.tolist()}
    labels, numbers = answer(model, 2, history=history)
    assert labels[0] == "2027-01-15"
    np.testing.assert_allclose(numbers[:, 0], plain.predict(2, last_window=later))
    priced = ForecasterRecursive(estimator=Ridge(), lags=7)
    priced.fit(y=Y, exog=prices())
    check(priced, priced.predict(H, exog=FUTURE), exog=records(FUTURE))
    direct = ForecasterDirect(estimator=Ridge(), steps=H, lags=7)
    direct.fit(y=Y)
    check(direct, direct.predict(H), kernel=False)  # it has no longer horizon to compare with


def several() -> Any:
    both = ForecasterRecursiveMultiSeries(estimator=Ridge(), lags=7, transformer_series=StandardScaler())
    both.fit(series={"a": Y, "b": Y})
    return both


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            NaiveForecaster,
            "the NaiveForecaster of sktime: it is not fitted; publish what its fit() returns",
        ),
        (lambda: Detrender().fit(Y), "the Detrender of sktime: it is not a forecaster"),
        (
            lambda: NaiveForecaster().fit(pd.DataFrame({"a": Y, "b": Y})),
            "it is of 2 series; publish one of one",
        ),
        (lambda: ForecasterRecursive(estimator=Ridge(), lags=7), "of skforecast: it is not fitted"),
        (several, "of skforecast: it is of several series"),
    ],
)
def test_what_can_not_be_served_is_named(make: Any, words: str) -> None:
    with pytest.raises(ArtifactInvalid) as refused:
        served(make())
    assert words in str(refused.value)
