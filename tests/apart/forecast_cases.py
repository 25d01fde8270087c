"""Forecasts of libraries that run beside our pins: statsmodels, Nixtla's two, and Prophet."""

import io
import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from mlforecast import MLForecast
from mlforecast.utils import PredictionIntervals
from prophet import Prophet
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, AutoRegressive, HistoricAverage, Naive, SeasonalNaive
from statsmodels.tsa.ar_model import AutoReg
from statsmodels.tsa.arima.model import ARIMA
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.forecasting.stl import STLForecast
from statsmodels.tsa.forecasting.theta import ThetaModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from tenantry import ModelId
from tenantry.errors import ArtifactInvalid
from tenantry_server.describing.forecast_card import card_of as describe
from tenantry_server.formats.adapters import compiled
from tenantry_server.rows.forecast_request import of_document
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring.calls import score
from tests.apart.forecast_models import (
    QUANTILES,
    STEPS,
    agree,
    agree_beyond,
    answer,
    check,
    daily,
    ends,
    prices,
    records,
    served,
)

Y = daily()
H = 5
LEVEL = 0.2  # alpha of the interval from 0.1 to 0.9


@pytest.mark.parametrize(
    "make",
    [
        lambda: ARIMA(Y, order=(1, 0, 1)).fit(),
        lambda: sm.tsa.SARIMAX(Y, order=(1, 0, 0), trend="c").fit(disp=0),
        lambda: sm.tsa.UnobservedComponents(Y, "llevel").fit(disp=0),
    ],
)
def test_state_space_models_of_statsmodels(make: Any) -> None:
    fitted = make()
    own = fitted.get_forecast(H)
    interval = own.conf_int(alpha=LEVEL)
    quantiles = ends(interval.iloc[:, 0], own.predicted_mean, interval.iloc[:, 1])
    model = check(fitted, own.predicted_mean, quantiles=quantiles)
    # A later history is filtered with the parameters that were fitted.
    later = Y.iloc[-30:].set_axis(pd.date_range("2027-01-01", periods=30, freq="D"))
    history = {"time": [str(day.date()) for day in later.index], "value": later.tolist()}
    labels, numbers = answer(model, 2, history=history)
    assert labels == ["2027-01-31", "2027-02-01"]
    np.testing.assert_allclose(numbers[:, 0], fitted.apply(later).forecast(2))


def test_exogenous_columns_of_statsmodels() -> None:
    future = prices(STEPS + H).iloc[STEPS:]
    arima = ARIMA(Y, exog=prices(), order=(1, 0, 0)).fit()
    assert check(
        arima,
        arima.forecast(H, exog=future),
        quantiles=_interval(arima.get_forecast(H, exog=future)),
        exog=records(future),
    ).exog_names == ("price",)
    auto = AutoReg(Y, lags=7, exog=prices()).fit()
    own = auto.get_prediction(STEPS, STEPS + H - 1, exog_oos=future)
    check(auto, own.predicted_mean, quantiles=_interval(own), exog=records(future))


def _interval(predicted: Any) -> Any:
    interval = predicted.conf_int(alpha=LEVEL)
    return ends(interval.iloc[:, 0], predicted.predicted_mean, interval.iloc[:, 1])


@pytest.mark.parametrize("error", ["add", "mul"])
def test_exponential_smoothing_of_statsmodels(error: str) -> None:
    """Where intervals are simulated, they are the same at each request."""
    fitted = ETSModel(Y, error=error, trend="add", seasonal=error, seasonal_periods=7).fit(disp=0)
    if error == "add":
        predicted = fitted.get_prediction(STEPS, STEPS + H - 1)
        interval = predicted.pred_int(alpha=LEVEL)
        quantiles = ends(interval.iloc[:, 0], predicted.predicted_mean, interval.iloc[:, 1])
        check(fitted, fitted.forecast(H), quantiles=quantiles)
        return
    model = served(fitted)
    _, first = answer(model, H, quantiles=list(QUANTILES))
    _, again = answer(model, H, quantiles=list(QUANTILES))
    assert (first == again).all()
    np.testing.assert_allclose(answer(model, H)[1][:, 0], fitted.forecast(H))


def test_the_other_models_of_a_series_of_statsmodels() -> None:
    winters = ExponentialSmoothing(Y, trend="add", seasonal="add", seasonal_periods=7).fit()
    check(winters, winters.forecast(H))
    theta = ThetaModel(Y, period=7).fit()
    interval = theta.prediction_intervals(H, alpha=LEVEL)
    middle = theta.prediction_intervals(H, alpha=1.0)["lower"]
    check(theta, theta.forecast(H), quantiles=ends(interval["lower"], middle, interval["upper"]))
    stl = STLForecast(Y, ARIMA, model_kwargs={"order": (1, 0, 0)}, period=7).fit()
    check(stl, stl.forecast(H), quantiles=_interval(stl.get_prediction(STEPS, STEPS + H - 1)))


def test_calendars_of_statsmodels() -> None:
    numbered = ARIMA(Y.to_numpy(), order=(1, 0, 0)).fit()
    own = numbered.get_forecast(H)
    interval = own.conf_int(alpha=LEVEL)
    quantiles = ends(interval[:, 0], own.predicted_mean, interval[:, 1])
    check(numbered, own.predicted_mean, quantiles=quantiles, first=STEPS)
    zoned = ARIMA(daily("Europe/Oslo"), order=(1, 0, 0)).fit()
    own = zoned.get_forecast(H)
    check(zoned, own.predicted_mean, quantiles=_interval(own), first="2026-11-29T00:00:00+01:00")
    months = Y.set_axis(pd.period_range("2017-01", periods=STEPS, freq="M"))
    by_month = ARIMA(months, order=(1, 0, 0)).fit()
    own = by_month.get_forecast(H)
    check(by_month, own.predicted_mean, quantiles=_interval(own), first="2027-01-01")


def test_regressions_of_statsmodels() -> None:
    """A constant is put in as `add_constant` did; a formula reads its columns by name."""
    frame = prices().assign(promo=np.arange(STEPS) % 2.0)
    least = sm.OLS(Y, sm.add_constant(frame)).fit()
    model = served(least)
    asked = parse(b'[{"promo": 1, "price": 1.5}, {"price": 2, "promo": 0}]')
    design = np.array([[1, 1.5, 1], [1, 2, 0]])
    np.testing.assert_allclose(score(model, asked), least.predict(design))
    assert model.feature_names == ("price", "promo")
    counts = sm.GLM(Y.round(), frame.to_numpy(), family=sm.families.Poisson()).fit()
    np.testing.assert_allclose(
        score(served(counts), parse(b'{"instances": [[1.5, 1]]}')), counts.predict([[1.5, 1]])
    )
    cities = frame.assign(y=Y.to_numpy(), city=["Oslo", "Rome", "Bern"] * (STEPS // 3))
    formula = smf.ols("y ~ price + C(city)", cities).fit()
    asked = parse(b'[{"price": 1.5, "city": "Rome"}]')
    np.testing.assert_allclose(
        score(served(formula), asked), formula.predict(cities.iloc[[1]].assign(price=1.5))
    )


def panel(*names: str) -> pd.DataFrame:
    return pd.concat(
        [pd.DataFrame({"unique_id": n, "ds": Y.index, "y": Y.to_numpy()}) for n in names or ("s",)]
    )


@pytest.mark.parametrize("kind", [SeasonalNaive(7), AutoETS(season_length=7)])
def test_statsforecast(kind: Any) -> None:
    fitted = StatsForecast(models=[kind], freq="D").fit(panel())
    own = fitted.predict(H, level=[0, 80])
    name = repr(kind)
    quantiles = ends(own[f"{name}-lo-80"], own[f"{name}-lo-0"], own[f"{name}-hi-80"])
    check(fitted, own[name], quantiles=quantiles)
    bare = SeasonalNaive(7).fit(Y.to_numpy())
    by_itself = bare.predict(H, level=[80])
    quantiles = ends(by_itself["lo-80"], by_itself["mean"], by_itself["hi-80"])
    check(bare, by_itself["mean"], quantiles=quantiles, first=0)


def test_mlforecast() -> None:
    fitted = MLForecast(models=[LinearRegression()], freq="D", lags=[1, 7])
    fitted.fit(panel())
    model = check(fitted, fitted.predict(H)["LinearRegression"])
    later = panel().assign(ds=Y.index + pd.Timedelta(days=365))
    history = {"time": [str(day.date()) for day in later["ds"]], "value": later["y"].tolist()}
    labels, numbers = answer(model, 2, history=history)
    assert labels[0] == "2027-11-29"
    np.testing.assert_allclose(numbers[:, 0], fitted.predict(2, new_df=later)["LinearRegression"])
    priced = MLForecast(models=[LinearRegression()], freq="D", lags=[1, 7])
    intervals = PredictionIntervals(n_windows=2, h=H)
    priced.fit(
        panel().assign(price=prices()["price"].to_numpy()),
        prediction_intervals=intervals,
        static_features=[],
    )
    future = prices(STEPS + H).iloc[STEPS:]
    table = future.reset_index(names="ds").assign(unique_id="s")
    own = priced.predict(H, X_df=table, level=[0, 80])
    name = "LinearRegression"
    model = served(priced)
    assert model.exog_names == ("price",)
    _, numbers = answer(model, H, exog=records(future), quantiles=[0.1, 0.9])
    np.testing.assert_allclose(numbers, own[[name, f"{name}-lo-80", f"{name}-hi-80"]])


def test_prophet() -> None:
    frame = pd.DataFrame({"ds": Y.index, "y": Y.to_numpy(), "price": prices()["price"].to_numpy()})
    fitted = Prophet().fit(frame)
    model = served(fitted)
    future = fitted.make_future_dataframe(H, include_history=False)
    labels, numbers = answer(model, H, quantiles=list(QUANTILES))
    assert labels[0] == "2026-11-29"
    np.testing.assert_allclose(numbers[:, 0], fitted.predict(future)["yhat"])
    assert (answer(model, H, quantiles=list(QUANTILES))[1] == numbers).all()
    assert (np.diff(numbers[:, 1:]) > 0).all()
    priced = Prophet()
    priced.add_regressor("price")
    priced.fit(frame)
    after = prices(STEPS + H).iloc[STEPS:]
    _, numbers = answer(served(priced), H, exog=records(after))
    own = priced.predict(future.assign(price=after["price"].to_numpy()))["yhat"]
    np.testing.assert_allclose(numbers[:, 0], own)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: ARIMA(Y, order=(1, 0, 0)),
            "the ARIMA of statsmodels: it is not fitted; publish what its fit",
        ),
        (
            lambda: StatsForecast(models=[HistoricAverage()], freq="D").fit(panel("a", "b")),
            "the StatsForecast of statsforecast: it holds 2 series (a, b, …); a user has one",
        ),
        (
            lambda: StatsForecast(models=[HistoricAverage(), SeasonalNaive(7)], freq="D").fit(panel()),
            "it holds 2 models (HistoricAverage, SeasonalNaive, …); keep the one to serve",
        ),
        (lambda: StatsForecast(models=[HistoricAverage()], freq="D"), "it is not fitted"),
        (lambda: SeasonalNaive(7), "the SeasonalNaive of statsforecast: it is not fitted"),
        (
            lambda: MLForecast(models=[LinearRegression()], freq="D", lags=[1]),
            "it is not fitted; publish it after fit",
        ),
        (Prophet, "the Prophet of prophet: it is not fitted"),
        (
            lambda: Prophet().fit(pd.DataFrame({"ds": Y.index[[0, 1, 5, 9, 20]], "y": [1.0, 2, 3, 4, 5]})),
            "its series has no regular frequency",
        ),
        (lambda: sm.tsa.VAR(np.random.default_rng(0).normal(size=(50, 2))).fit(1), "series together"),
    ],
)
def test_what_can_not_be_served_is_named(make: Any, words: str) -> None:
    with pytest.raises(ArtifactInvalid) as refused:
        served(make())
    assert words in str(refused.value)


def test_another_method_than_predict_is_refused() -> None:
    with pytest.raises(ArtifactInvalid, match="only forecasts; take predict_proba out of spec"):
        served(ARIMA(Y, order=(1, 0, 0)).fit(), method="predict_proba")


def card_of(fitted: Any, **example: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(fitted, file)
    return describe(file.getvalue(), ModelId("file:///m.joblib"), example)


SPREAD = {
    "arima": lambda: ARIMA(Y, order=(1, 0, 1)).fit(),
    "auto": lambda: AutoReg(Y, lags=7).fit(),
    "ets": lambda: ETSModel(Y, error="add", trend="add", damped_trend=True).fit(disp=0),
    "theta": lambda: ThetaModel(Y, period=7).fit(),
    "naive": lambda: StatsForecast(models=[Naive()], freq="D").fit(panel()),
    "ar": lambda: StatsForecast(models=[AutoRegressive(lags=2)], freq="D").fit(panel()),
}


@pytest.mark.parametrize("name", SPREAD)
def test_a_kernel_has_every_quantile_where_they_are_normal(name: str) -> None:
    model = served(SPREAD[name]())
    table: Any = compiled.table_of(model, None)
    asked = of_document({"horizon": 28, "quantiles": [0.0321, 0.33, 0.987654]})
    assert table.covers(asked)
    np.testing.assert_allclose(
        score(table, asked)[:, 1:].astype(float), score(model, asked)[:, 1:].astype(float), rtol=1e-9
    )
    assert table.own_bytes() < 2048


def stats(model: Any) -> Any:
    return StatsForecast(models=[model], freq="D").fit(panel())


def with_price(kind: Any) -> Any:
    fitted = kind()
    fitted.add_regressor("price")
    return fitted.fit(panel().assign(price=prices()["price"].to_numpy()))


FAR, EXOG, HISTORY = "far", "exog", "history"
FAR_Q, EXOG_Q, HISTORY_Q = "far quantiles", "exog quantiles", "history quantiles"
BEYOND: dict[str, tuple[Any, list[str]]] = {
    "auto": (lambda: AutoReg(Y, lags=[1, 7]).fit(), [FAR, FAR_Q, HISTORY]),
    "auto with a trend": (lambda: AutoReg(Y, lags=2, trend="ct").fit(), []),
    "auto with seasons": (lambda: AutoReg(Y, lags=2, seasonal=True, period=7).fit(), [FAR, FAR_Q]),
    "auto with exog": (
        lambda: AutoReg(Y, lags=2, exog=prices()).fit(),
        [FAR, FAR_Q, EXOG, EXOG_Q, HISTORY],
    ),
    "ar": (lambda: ARIMA(Y, order=(2, 0, 0)).fit(), [FAR, FAR_Q, HISTORY, HISTORY_Q]),
    "arma": (lambda: ARIMA(Y, order=(1, 0, 1)).fit(), [FAR, FAR_Q]),
    "ar with exog": (lambda: ARIMA(Y, exog=prices(), order=(1, 0, 0)).fit(), [FAR, FAR_Q, EXOG, EXOG_Q]),
    "simple": (lambda: ETSModel(Y, error="add").fit(disp=0), [FAR, FAR_Q]),
    "additive": (
        lambda: ETSModel(Y, error="add", trend="add", seasonal="add", seasonal_periods=7).fit(disp=0),
        [FAR],
    ),
    "winters": (
        lambda: ExponentialSmoothing(
            Y, trend="add", damped_trend=True, seasonal="add", seasonal_periods=7
        ).fit(),
        [FAR],
    ),
    "holt": (lambda: ExponentialSmoothing(Y, trend="add").fit(), [FAR]),
    "multiplied": (
        lambda: ExponentialSmoothing(Y, trend="add", seasonal="mul", seasonal_periods=7).fit(),
        [FAR],
    ),
    "naive": (lambda: stats(Naive()), [FAR, FAR_Q, HISTORY]),
    "seasonal naive": (lambda: stats(SeasonalNaive(7)), [FAR, FAR_Q, HISTORY]),
    "seasonal naive alone": (lambda: SeasonalNaive(7).fit(Y.to_numpy()), [FAR, FAR_Q, HISTORY]),
    "autoregressive": (lambda: stats(AutoRegressive(lags=2)), [FAR, FAR_Q, HISTORY, HISTORY_Q]),
    "mean": (lambda: stats(HistoricAverage()), [FAR, FAR_Q]),
    "prophet with exog": (lambda: with_price(Prophet), [FAR, EXOG]),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_a_kernel_answers_beyond_its_table(name: str) -> None:
    """Of each model, what no worker is needed for; the answers are the model's own."""
    make, answered = BEYOND[name]
    model = served(make())
    table: Any = compiled.table_of(model, None)
    assert agree_beyond(model, table) == answered


def test_a_history_of_statsforecast_is_forecast_as_it_does_itself() -> None:
    later = Y.iloc[-30:].set_axis(pd.date_range("2027-01-01", periods=30, freq="D"))
    history = {"time": [str(day.date()) for day in later.index], "value": later.tolist()}
    for kind in (SeasonalNaive(7), AutoRegressive(lags=2), AutoETS(season_length=7, model="ANA")):
        fitted = stats(kind)
        inner = fitted.fitted_[0, 0]
        own = getattr(inner, "forward", inner.forecast)(y=later.to_numpy(), h=H, level=[80])
        labels, numbers = answer(served(fitted), H, history=history, quantiles=[0.1, 0.9])
        assert labels[0] == "2027-01-31"
        expected = np.column_stack([own["mean"], own["lo-80"], own["hi-80"]])
        np.testing.assert_allclose(numbers, expected, rtol=1e-12)


OWN_HORIZON = {
    # It derives the spread of every step from the last one.
    "ets": lambda: StatsForecast(models=[AutoETS(season_length=7, model="AAA")], freq="D").fit(panel()),
    "prophet": lambda: Prophet().fit(panel()),  # simulated
}


@pytest.mark.parametrize("name", OWN_HORIZON)
def test_quantiles_that_depend_on_the_horizon_are_kept_for_that_of_the_card(name: str) -> None:
    fitted = OWN_HORIZON[name]()
    model = served(fitted)
    wanted = {"horizon": 14, "quantiles": [0.1, 0.9]}
    without: Any = compiled.table_of(model, None)
    table: Any = compiled.table_of(model, card_of(fitted, **wanted))
    assert not without.covers(of_document(wanted))
    np.testing.assert_array_equal(score(table, of_document(wanted)), score(model, of_document(wanted)))
    assert not table.covers(of_document(wanted | {"horizon": 13}))
    agree(model, table, 13)


class Noisy(BaseEstimator):  # type: ignore[misc]
    """A class of one's own, of which nobody knows what it reads."""

    def fit(self, X: Any, y: Any) -> "Noisy":  # noqa: N803, ARG002 - as scikit-learn has it
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803 - as above
        return np.ones(len(X))


def test_a_class_of_ones_own_inside_has_no_kernel() -> None:
    own = MLForecast(models=[Noisy()], freq="D", lags=[1, 7]).fit(panel())
    known = MLForecast(models=[LinearRegression()], freq="D", lags=[1, 7]).fit(panel())
    assert compiled.table_of(served(own), None) is None
    assert compiled.table_of(served(known), None) is not None


def test_every_model_can_be_pickled_again() -> None:
    """What a server measures of it is the length of its pickle."""
    assert len(pickle.dumps(served(ARIMA(Y, order=(1, 0, 0)).fit()))) > 0
