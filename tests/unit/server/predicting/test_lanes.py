"""Slow models: one call at a time for each, those that wait together in one, and nobody else held up."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry import Model
from tenantry.errors import FeatureMismatch, PredictionFailed
from tenantry.model import Predictions, Rows
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting import lanes as lanes_module
from tenantry_server.predicting.lanes import Lanes
from tenantry_server.rows.json_payload import JsonPayload
from tests.support.waiting import until_soon


class Gated(Model):
    """Doubles its one column when the gate is open, and remembers how many rows each call had."""

    numeric = True
    feature_count = 1
    independent_rows = True

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls: list[int] = []
        self.running = 0

    def predict(self, data: pd.DataFrame) -> Predictions:
        raise NotImplementedError

    def predict_rows(self, rows: Rows) -> Predictions:
        self.calls.append(len(rows))
        self.running += 1
        assert self.running == 1, "two calls of one model at once"
        try:
            assert self.gate.wait(30)
            if (rows < 0).any():
                raise ValueError("no negative numbers, please")
            return rows[:, 0] * 2
        finally:
            self.running -= 1


class Dependent(Gated):
    """Its answer for a row depends on the rows beside it."""

    independent_rows = False

    def predict_rows(self, rows: Rows) -> Predictions:
        return super().predict_rows(rows) * 0 + len(rows)


def rows(*values: Any) -> JsonPayload:
    return JsonPayload(records=False, columns=None, rows=[[value] for value in values], bare=False)


@pytest.fixture
async def lanes() -> AsyncIterator[Lanes]:
    with ThreadPoolExecutor(1) as aside:
        made = Lanes(4, timeout_s=60.0, aside=aside)
        yield made
        made.close()


async def ask(lanes: Lanes, model: Model, *values: Any) -> list[float]:
    answer = await lanes.predict("m", Resident(model, 1), rows(*values))
    return list(answer.tolist())


async def waiting_behind_one(lanes: Lanes, model: Gated, *requests: Any) -> list[Any]:
    """The answers to `requests` that came while the first call was running."""
    first = asyncio.create_task(ask(lanes, model, 1.0))
    await until_soon(lambda: model.calls == [1])
    later = [asyncio.create_task(ask(lanes, model, *values)) for values in requests]
    await asyncio.sleep(0)
    model.gate.set()
    assert await first == [2.0]
    return await asyncio.gather(*later, return_exceptions=True)


async def test_requests_that_wait_are_scored_in_one_call(lanes: Lanes) -> None:
    model = Gated()
    assert await waiting_behind_one(lanes, model, (1.0,), (2.0, 3.0), (4.0,)) == [[2.0], [4.0, 6.0], [8.0]]
    assert model.calls == [1, 4]


async def test_a_model_whose_rows_depend_on_each_other_gets_each_request_alone(lanes: Lanes) -> None:
    model = Dependent()
    model.gate.set()
    answers = await asyncio.gather(*(ask(lanes, model, *[0.0] * count) for count in (1, 2, 3)))
    assert answers == [[1.0], [2.0] * 2, [3.0] * 3]
    assert model.calls == [1, 2, 3]


async def test_one_bad_request_of_a_batch_fails_alone(lanes: Lanes) -> None:
    """Neither one that no matrix can be made of, nor one that the model itself refuses."""
    answers = await waiting_behind_one(lanes, Gated(), (1.0,), ("text",), (-1.0,), (5.0,))
    assert (answers[0], answers[3]) == ([2.0], [10.0])
    assert isinstance(answers[1], FeatureMismatch)
    assert "must be a number" in str(answers[1])
    assert isinstance(answers[2], FeatureMismatch)
    assert "no negative numbers" in str(answers[2])


async def test_a_batch_is_bounded_in_rows(lanes: Lanes) -> None:
    model = Gated()
    await waiting_behind_one(lanes, model, *([1.0] * 100 for _ in range(5)))
    assert model.calls == [1, 200, 200, 100]


async def test_a_request_larger_than_a_batch_is_scored(lanes: Lanes) -> None:
    model = Gated()
    model.gate.set()
    assert len(await ask(lanes, model, *[1.0] * 1000)) == 1000


async def test_whoever_gave_up_is_not_scored(lanes: Lanes) -> None:
    model = Gated()
    first = asyncio.create_task(ask(lanes, model, 1.0))
    await until_soon(lambda: model.calls == [1])
    left = asyncio.create_task(ask(lanes, model, 7.0))
    stays = asyncio.create_task(ask(lanes, model, 8.0))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    model.gate.set()
    assert (await first, await stays) == ([2.0], [16.0])
    assert model.calls == [1, 1]


async def test_batches_that_do_not_pay_are_given_up_for_a_while(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose time is all in its rows gains nothing, and its first caller would only wait longer."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(lanes_module, "time", SimpleNamespace(thread_time=lambda: clock.now_s))

    class BusyRows(Gated):
        def predict_rows(self, rows: Rows) -> Predictions:
            clock.now_s += 0.001 * len(rows)
            return super().predict_rows(rows)

    model = BusyRows()
    model.gate.set()
    for _ in range(3):
        await asyncio.gather(*(ask(lanes, model, 1.0) for _ in range(5)))
    assert model.calls == [1, 4] + [1] * 10


async def test_a_slow_model_leaves_the_others_their_turn(lanes: Lanes) -> None:
    slow, quick = Gated(), Gated()
    quick.gate.set()
    held = asyncio.create_task(lanes.predict("slow", Resident(slow, 1), rows(1.0)))
    await until_soon(lambda: slow.calls == [1])
    for _ in range(3):
        assert (await lanes.predict("quick", Resident(quick, 1), rows(4.0))).tolist() == [8.0]
    assert not held.done()
    slow.gate.set()
    assert (await held).tolist() == [2.0]


async def test_the_cost_of_a_call_is_measured_in_the_thread(lanes: Lanes) -> None:
    """Sleep is not a cost; `may_block` keeps such models off the event loop."""
    model = Gated()
    model.gate.set()
    resident = Resident(model, 1)
    assert resident.call_s == float("inf")
    await lanes.predict("m", resident, rows(1.0))
    assert 0 < resident.call_s < 30


async def test_a_wrong_count_of_predictions_is_the_models_failure(lanes: Lanes) -> None:
    class Forgets(Gated):
        def predict_rows(self, rows: Rows) -> Predictions:
            return np.zeros(len(rows) + 1)

    with pytest.raises(PredictionFailed, match=r"returned shape \(2,\) for 1 rows"):
        await ask(lanes, Forgets(), 1.0)
