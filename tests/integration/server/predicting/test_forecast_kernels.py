"""Forecasts from kernels: a worker proves them, this process answers, and the original does the rest."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from tenantry.errors import FeatureMismatch, InvalidRequest, ModelNotAssigned, TimelineMismatch
from tenantry_server import CachedModelRepository, bounded_cache
from tenantry_server.artifacts.repositories import FileSystemModelRepository
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.predicting.answer import Answer, Pace
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.predicting.forecasting import forecast_now, original_of
from tenantry_server.rows.forecast_request import of_document
from tenantry_server.toys import DriftForecaster
from tenantry_server.workers.calls.remote import WorkerModel
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.support.tenants.registered import Peeking, Tenants

LAST = pd.Timestamp("2026-11-29")
SHORT = of_document({"horizon": 2})
FAR = of_document({"horizon": 500})
LONG = of_document({"horizon": 5000})
AFTER = of_document({"horizon": 1, "history": {"time": ["2026-12-05"], "value": [3]}})
ALONE = of_document({"horizon": 1, "history": {"time": ["2026-12-05T00:00"], "value": [3]}})
NEXT = [["2026-11-30", 11.0], ["2026-12-01", 12.0]]


class Served(NamedTuple):
    plane: DataPlane
    models: CachedModelRepository
    ids: dict[str, str]

    def resident(self, user_id: str) -> object:
        found = self.models.glance(self.ids[user_id])
        return None if found is None else found.model

    def original(self, user_id: str) -> object:
        found = self.models.glance(original_of(self.ids[user_id]))
        return None if found is None else found.model


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    tenants = Tenants(tmp_path)
    ids = {name: tenants.add(name, DriftForecaster("D", LAST)) for name in ("ann", "bob")}
    ids["off"] = tenants.add("off", DriftForecaster("D", LAST), "#compile=off")
    ids["priced"] = tenants.add("priced", DriftForecaster("D", LAST, exog_names=("price",)))
    plain = DriftForecaster("D", LAST)
    plain.takes_history = False
    ids["plain"] = tenants.add("plain", plain)
    pool = Pool(most=2)
    pool.start()
    try:
        await pool.until_ready()
        files = FileSystemModelRepository()
        files.loader = WorkerLoads(pool, timeout_s=60).load
        models = CachedModelRepository(files, bounded_cache(1 << 20))
        plane = DataPlane(Peeking(tenants.engine), models)
        yield Served(plane, models, ids)
        plane.close()
    finally:
        pool.close()
        tenants.engine.dispose()


async def test_a_kernel_answers_what_it_holds_and_the_original_the_rest(served: Served) -> None:
    plane = served.plane
    answer = await plane.predict("ann", SHORT, timeout_s=60)
    assert answer.predictions.tolist() == NEXT
    assert isinstance(served.resident("ann"), ForecastTable)
    assert served.original("ann") is None  # no worker keeps it
    far = await plane.predict("ann", FAR, timeout_s=60)
    assert far.predictions[-1].tolist() == ["2028-04-12", 510.0]
    after = await plane.predict("ann", AFTER, timeout_s=60)
    assert after.predictions.tolist() == [["2026-12-06", 4.0]]
    assert served.original("ann") is None
    long = await plane.predict("ann", LONG, timeout_s=60)
    assert long.predictions[:500].tolist() == far.predictions.tolist()
    assert isinstance(served.original("ann"), WorkerModel)
    alone = await plane.predict("ann", ALONE, timeout_s=60)  # a time that is written otherwise
    assert alone.predictions.tolist() == after.predictions.tolist()
    # All are answers of the one model that is assigned.
    assert {each.model_id for each in (answer, far, long, after)} == {served.ids["ann"]}
    plane.models.unload(served.ids["ann"])
    assert served.resident("ann") is served.original("ann") is None


async def test_a_kernel_answers_without_waiting(served: Served) -> None:
    """Each of many users by itself; one without a kernel here waits, and an error is of one user."""
    plane = served.plane
    for user_id in ("ann", "bob", "plain"):
        await plane.models.load(served.ids[user_id])
    assert plane.models.pace("ann") is Pace.QUICK  # before anything was measured
    whole = plane.predict_now("ann", of_document({"horizon": 28, "quantiles": [0.9]}))
    assert whole is not None
    assert whole.predictions[-1].tolist() == ["2026-12-27", 38.0, 38.9]
    after = plane.predict_now("ann", AFTER)
    assert after is not None
    assert after.predictions.tolist() == [["2026-12-06", 4.0]]
    assert plane.predict_now("ann", ALONE) is None
    asked = [("ann", SHORT), ("ann", LONG), ("priced", SHORT), ("plain", AFTER), ("bob", SHORT)]
    first, long, priced, plain, last = forecast_now(plane, asked)
    assert isinstance(first, Answer)
    assert isinstance(last, Answer)
    assert first.predictions.tolist() == last.predictions.tolist() == NEXT
    assert (first.model_id, last.model_id) == (served.ids["ann"], served.ids["bob"])
    assert long is priced is None
    assert isinstance(plain, InvalidRequest)
    with pytest.raises(ModelNotAssigned):
        plane.predict_now("nobody", SHORT)


async def test_a_kernel_answers_exogenous_columns_and_the_original_words_what_is_wrong(
    served: Served,
) -> None:
    plane = served.plane
    days: dict[str, list[Any]] = {"price": [5, 7], "time": ["2026-11-30", "2026-12-01"]}
    answer = await plane.predict("priced", of_document({"horizon": 2, "exog": days}), timeout_s=60)
    assert answer.predictions.tolist() == [["2026-11-30", 16.0], ["2026-12-01", 19.0]]
    assert isinstance(served.resident("priced"), ForecastTable)
    assert served.original("priced") is None
    days["time"][1] = "2026-12-02"
    with pytest.raises(TimelineMismatch, match="exog: row 1, column 'time': 2026-12-02, wanted 2026-12-01"):
        await plane.predict("priced", of_document({"horizon": 2, "exog": days}), timeout_s=60)
    with pytest.raises(FeatureMismatch, match="exog is missing: column price"):
        await plane.predict("priced", SHORT, timeout_s=60)


async def test_what_has_no_kernel_stays_in_a_worker(served: Served) -> None:
    """What is not to be compiled; a refusal loads no original."""
    assert (await served.plane.predict("off", SHORT, timeout_s=60)).predictions.tolist() == NEXT
    assert isinstance(served.resident("off"), WorkerModel)
    with pytest.raises(InvalidRequest, match="takes no other history"):
        await served.plane.predict("plain", AFTER, timeout_s=60)
    assert isinstance(served.resident("plain"), ForecastTable)
    assert served.original("plain") is None
