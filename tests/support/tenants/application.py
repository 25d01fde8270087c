"""An application over a registry, whose tenants misbehave in every way that a test needs."""

import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pandas as pd
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from tenantry import Model
from tenantry.model import Predictions
from tenantry_server.toys import SumModel
from tests.support.tenants.registered import CACHE_BYTES, Tenants

Client = TestClient[Request, Application]


BODY_BYTES = 10_000


TIMEOUT_S = 5.0


FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]})


class GatedModel(SumModel):
    """A SumModel that waits for `gate`, as a model does that takes its time."""

    gate: ClassVar[threading.Event] = threading.Event()
    waiting: ClassVar[int] = 0

    def predict(self, data: pd.DataFrame) -> Predictions:
        type(self).waiting += 1
        self.gate.wait(30)
        return super().predict(data)


class GatedLoad(SumModel):
    """Waits for `gate` while it is unpickled, and counts how often it is."""

    gate: ClassVar[threading.Event] = threading.Event()
    loads: ClassVar[int] = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).loads += 1
        self.gate.wait(30)
        self.__dict__.update(state)


class WrongCount(SumModel):
    """Forgets the last row."""

    def predict(self, data: pd.DataFrame) -> Predictions:
        return super().predict(data)[:-1]


class Returns(Model):
    """Answers with what it was given, whatever that is."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, data: pd.DataFrame) -> Predictions:  # noqa: ARG002 - the interface
        return self.answer  # type: ignore[no-any-return]


class Exits(SumModel):
    """Calls sys.exit, as a script does that was made a model of."""

    def predict(self, data: pd.DataFrame) -> Predictions:  # noqa: ARG002 - the interface
        raise SystemExit(3)


class ExitsWhenLoaded:
    """The same, while it is unpickled."""

    def __reduce__(self) -> Any:
        return exit_now, ()


def exit_now() -> None:
    raise SystemExit(3)


class Large(SumModel):
    """Larger than the cache."""

    def __init__(self) -> None:
        super().__init__()
        self.ballast = b"x" * 2 * CACHE_BYTES


def tenants(engine: Engine, folder: Path) -> Tenants:
    """Whose applications wait for little and take little."""
    return Tenants(folder, engine, predict_timeout_s=TIMEOUT_S, max_body_bytes=BODY_BYTES)


_LATE = 2  # a neighbour that is held up is so each time


async def ask(client: Client, user_id: str, body: Any, **how: Any) -> Any:
    """The decoded answer to a prediction that must succeed.

    A load may take longer on a busy machine than a request waits here; then it is asked again. So it is
    once where there was no answer in time: a machine may stand still for longer than that.
    """
    late = 0
    while True:
        async with client.post(f"/predict/{user_id}", json=body, **how) as response:
            answer = await response.json()
        if response.status == 503 and answer["error"]["reason"] == "ModelLoading":
            continue
        if response.status == 504 and (late := late + 1) < _LATE:
            continue
        assert response.status == 200, answer
        return answer


async def neighbour_is_well(client: Client) -> None:
    assert await ask(client, "good", [{"a": 1, "b": 2}]) == [103.0]


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    """Status, reason and message of an error, which has exactly one form."""
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Tenantry-Server"] == "server-7"
    body = json.loads(await response.read())
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["message", "reason"]
    reason, message = body["error"]["reason"], body["error"]["message"]
    assert isinstance(reason, str)
    assert isinstance(message, str)
    return response.status, reason, message


async def metrics(client: Client) -> dict[str, float]:
    """Every series of /metrics, by its name and labels."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        families = text_string_to_metric_families(await response.text())
        return {
            f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
            for family in families
            for sample in family.samples
        }


# What is refused

ROW = b'[{"a": 1, "b": 2}]'


POST: dict[str, Any] = {"method": "POST", "data": ROW}


async def ask_status(client: Client, user_id: str) -> int:
    async with client.post(f"/predict/{user_id}", data=ROW) as response:
        await response.read()
        return response.status
