"""Forecasts of these libraries as a server gives them: in a sandboxed worker, over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from mlforecast import MLForecast
from prophet import Prophet
from sklearn.linear_model import LinearRegression
from statsforecast import StatsForecast
from statsforecast.models import AutoETS
from statsmodels.tsa.arima.model import ARIMA

from tenantry_server import CachedModelRepository, FileSystemModelRepository, bounded_cache, make_app
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.predicting.forecasting import original_of
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.apart.forecast_models import daily
from tests.apart.published import Published
from tests.support.processes.sandboxed import workers

Client = TestClient[Request, Application]
Y = daily()


def panel() -> pd.DataFrame:
    return pd.DataFrame({"unique_id": "s", "ds": Y.index, "y": Y.to_numpy()})


MODELS: dict[str, Any] = {
    "arima": lambda: ARIMA(Y, order=(1, 0, 1)).fit(),
    "ets": lambda: StatsForecast(models=[AutoETS(season_length=7)], freq="D").fit(panel()),
    "ml": lambda: MLForecast(models=[LinearRegression()], freq="D", lags=[1, 7]).fit(panel()),
    "prophet": lambda: Prophet().fit(panel()),
}
OWN: dict[str, Any] = {
    "arima": lambda fitted: fitted.forecast(14),
    "ets": lambda fitted: fitted.predict(14)["AutoETS"],
    "ml": lambda fitted: fitted.predict(14)["LinearRegression"],
    "prophet": lambda fitted: fitted.predict(fitted.make_future_dataframe(14, include_history=False))[
        "yhat"
    ],
}


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with workers(most=4) as pool:
        yield pool


async def test_each_library_forecasts_in_a_sandboxed_worker(pool: Pool, tmp_path: Path) -> None:
    fitted = {user_id: make() for user_id, make in MODELS.items()}
    paths = {user_id: tmp_path / f"{user_id}.joblib" for user_id in fitted}
    for user_id, path in paths.items():
        joblib.dump(fitted[user_id], path)
    files = FileSystemModelRepository()
    files.loader = WorkerLoads(pool, timeout_s=120).load
    models = CachedModelRepository(files, bounded_cache(64 << 20))
    published = Published({user_id: path.as_uri() for user_id, path in paths.items()})
    async with TestClient(
        TestServer(make_app(published, models, pool=pool, predict_timeout_s=120))
    ) as client:
        for user_id, model in fitted.items():
            async with client.post(f"/forecast/{user_id}", data=json.dumps({"horizon": 14})) as response:
                answer = await response.json()
                assert response.status == 200, answer
            np.testing.assert_allclose([step["mean"] for step in answer["forecast"]], OWN[user_id](model))
            assert answer["forecast"][0]["time"] == "2026-11-29"
            kernel, original = (
                models.glance(each)
                for each in (published.model_ids[user_id], original_of(published.model_ids[user_id]))
            )
            assert kernel is not None
            assert isinstance(kernel.model, ForecastTable)
            assert original is None  # no worker keeps it
            # What the kernel doesn't hold, the original answers, and goes on where the kernel ends.
            async with client.get(f"/forecast/{user_id}?horizon=1100") as response:
                longer = await response.json()
                assert response.status == 200, longer
            seen, again = ([step["mean"] for step in each["forecast"][:14]] for each in (answer, longer))
            np.testing.assert_allclose(seen, again, rtol=1e-9)
            assert models.glance(original_of(published.model_ids[user_id])) is not None
