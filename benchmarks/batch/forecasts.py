"""Ten thousand stores, fourteen days each, from kernels in memory: CPU of the server, in two ways.

The kernels hold forecasts of autoregressions, and went over the wire as from a worker. They are asked
through the data plane, and answers are written as JSON; and, where this server has it, with one request to
`POST /forecast` from another process, whose CPU does not count. Every answer is compared with the model's.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pandas as pd
from aiohttp.test_utils import TestServer
from aiohttp.web import Application
from rich.console import Console
from rich.table import Table

from tenantry import Model
from tenantry.forecaster import MEAN
from tenantry_server import CachedModelRepository, ModelInfoRepository, bounded_cache, make_app
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.kernels import unpacking
from tenantry_server.kernels.series import wire
from tenantry_server.kernels.series.table import ForecastTable
from tenantry_server.predicting.answer import Answer
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.predicting.forecasting import forecast_now
from tenantry_server.rows.forecast_request import TIME, ForecastRequest

_MOST_S = 1.5
_STORES = 10_000
_DAYS = 14
_STEPS = 64
_AT_ONCE = 256  # users between two turns of others
_CLIENT = """
import sys, urllib.request
url, asked, answered = sys.argv[1:]
request = urllib.request.Request(url, open(asked, "rb").read(), {"Content-Type": "application/json"})
open(answered, "wb").write(urllib.request.urlopen(request, timeout=300).read())
"""


class _Stores(ModelInfoRepository, ModelRepository):
    """Users whose model id is their own name, and a table of forecasts for each."""

    def __init__(self, count: int) -> None:
        days = pd.date_range("2026-11-30", periods=_STEPS, freq="D")
        self._labels = [str(day.date()) for day in days]
        self.names = [f"store-{number:05}" for number in range(count)]
        draw = np.random.default_rng(0)
        level, phi = draw.normal(50, 10, (count, 1)), draw.uniform(0.2, 0.9, (count, 1))
        ahead = np.arange(1, _STEPS + 1)
        self.means = level + draw.normal(0, 5, (count, 1)) * phi**ahead
        self.spreads = np.sqrt((1 - phi ** (2 * ahead)) / (1 - phi**2))

    def get_model_id_by_user_id(self, user_id: str) -> str:
        return f"file:///{user_id}.joblib"

    def peek(self, user_id: str) -> str:
        return self.get_model_id_by_user_id(user_id)

    def get_model(self, model_id: str) -> Model:
        store = int(model_id[-12:-7])
        numbers = np.column_stack([self.means[store], self.spreads[store]])
        table = ForecastTable(self._labels, numbers, takes_quantiles=True)
        return unpacking.unpack(b"".join(wire.pack(table)))

    def check(self, forecasts: Sequence[Sequence[dict[str, Any]]], horizon: int) -> None:
        seen = np.array([[step[MEAN] for step in each] for each in forecasts])
        assert np.array_equal(seen, self.means[:, :horizon])
        assert all(each[0][TIME] == self._labels[0] for each in forecasts)


def main(given: argparse.Namespace) -> None:
    """Measure and print.

    Args:
        given: `rounds`, of which the best one counts, and `quick`: a tenth of the stores.
    """
    count = _STORES // 10 if given.quick else _STORES
    stores = _Stores(count)
    table = Table("what", "CPU", "a store", "target", "", box=None)
    for quantiles in ((), (0.1, 0.9)):
        asked = ForecastRequest(horizon=_DAYS, quantiles=quantiles)
        for what, spent_s in asyncio.run(_measured(stores, asked, given.rounds)):
            met = "met" if spent_s <= _MOST_S else "MISSED"
            asks = f"{what}, {len(quantiles)} quantiles"
            each = f"{1e6 * spent_s / count:.0f} us"
            table.add_row(asks, f"{spent_s:.2f} s", each, f"at most {_MOST_S} s", met)
    Console(width=140).print(f"{count:,} stores, {_DAYS} days each", table)


async def _measured(stores: _Stores, asked: ForecastRequest, rounds: int) -> list[tuple[str, float]]:
    models = CachedModelRepository(stores, bounded_cache(1 << 30))
    for user_id in stores.names:
        models.get_model(stores.peek(user_id))
    plane = DataPlane(stores, models)
    measured = [("data plane, answers as JSON", min(_here(plane, stores, asked) for _ in range(rounds)))]
    plane.close()
    app = make_app(stores, models)
    if any(getattr(each, "canonical", "") == "/forecast" for each in app.router.resources()):
        measured.append(("one request to POST /forecast", await _over_http(app, stores, asked, rounds)))
    return measured


def _here(plane: DataPlane, stores: _Stores, asked: ForecastRequest) -> float:
    began_s = time.process_time()
    names = (TIME, MEAN, *map(str, asked.quantiles))
    parts = []
    for first in range(0, len(stores.names), _AT_ONCE):
        some = stores.names[first : first + _AT_ONCE]
        answers = forecast_now(plane, ((user_id, asked) for user_id in some))
        steps = [_predictions(each).tolist() for each in answers]
        parts.append(orjson.dumps([[dict(zip(names, each, strict=True)) for each in one] for one in steps]))
    spent_s = time.process_time() - began_s
    stores.check([each for part in parts for each in orjson.loads(part)], asked.horizon)
    return spent_s


def _predictions(answer: object) -> Any:
    assert isinstance(answer, Answer), answer
    return answer.predictions


async def _over_http(app: Application, stores: _Stores, asked: ForecastRequest, rounds: int) -> float:
    members = {"horizon": asked.horizon} | ({"quantiles": asked.quantiles} if asked.quantiles else {})
    body = orjson.dumps({"rows": [{"user_id": user_id, **members} for user_id in stores.names]})
    spent_s = []
    with TemporaryDirectory(prefix="tenantry-forecasts-") as name:
        question, answer = Path(name) / "asked", Path(name) / "answered"
        question.write_bytes(body)
        async with TestServer(app) as server:
            url = str(server.make_url("/forecast"))
            for _ in range(rounds):
                began_s = time.process_time()
                client = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", _CLIENT, url, str(question), str(answer)
                )
                assert await client.wait() == 0
                spent_s.append(time.process_time() - began_s)
                document = orjson.loads(answer.read_bytes())
                assert not document["errors"], document["errors"][:3]
                stores.check(document["forecasts"], asked.horizon)
    return min(spent_s)
