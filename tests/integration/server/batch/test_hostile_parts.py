"""A peer that answers its part of a batch as no server of ours does: the next server answers those rows."""

import json
from typing import Any

import aiohttp
import pytest

from tenantry_server.protocols.batch import peer_answers
from tenantry_server.protocols.batch.inside import FORECAST, PREDICT, Form
from tests.support.network.beside_scripted_peer import USER, serving
from tests.support.network.scripted_peer import Exchange
from tests.support.waiting import until_soon

REFUSED = {"row": 0, "user_id": "ann", "status": 404, "reason": "ModelNotAssigned", "message": "no model"}
STEP = {"time": "2026-12-01", "mean": 1.5, "0.1": 1.0}


def deep(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


BROKEN: dict[str, tuple[Form, Any]] = {
    "a list": (PREDICT, []),
    "no errors": (PREDICT, {"predictions": [1.0]}),
    "errors that are an object": (PREDICT, {"predictions": [1.0], "errors": {}}),
    "too few": (PREDICT, {"predictions": [], "errors": []}),
    "too many": (PREDICT, {"predictions": [1.0, 666.0], "errors": []}),
    "predictions that are a text": (PREDICT, {"predictions": "1", "errors": []}),
    "what can't be written again": (PREDICT, {"predictions": [deep(300)], "errors": []}),
    "a row that was not sent": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"row": 7}]}),
    "a row that is a list": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"row": []}]}),
    "an error that is a text": (PREDICT, {"predictions": [None], "errors": ["evil"]}),
    "a status beyond HTTP": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"status": 10**9}]}),
    "a status that is true": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"status": True}]}),
    "an error that is none": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"status": 200}]}),
    "a reason of many words": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"reason": "a b"}]}),
    "a reason that is a number": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"reason": 1}]}),
    "a message that is a list": (PREDICT, {"predictions": [None], "errors": [REFUSED | {"message": []}]}),
    "a forecast that is a number": (FORECAST, {"forecasts": [1.0], "errors": []}),
    "a forecast that is nothing": (FORECAST, {"forecasts": [None], "errors": []}),
    "a step that is a number": (FORECAST, {"forecasts": [[1.0]], "errors": []}),
    "a step for another user": (FORECAST, {"forecasts": [[STEP | {"user_id": "eve"}]], "errors": []}),
    "a step with a status": (FORECAST, {"forecasts": [[STEP | {"status": 1}]], "errors": []}),
    "a step without a mean": (FORECAST, {"forecasts": [[{"time": "2026-12-01"}]], "errors": []}),
    "a mean that is a list": (FORECAST, {"forecasts": [[STEP | {"mean": []}]], "errors": []}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_no_server_of_ours_answers_is_no_answer(what: str) -> None:
    form, document = BROKEN[what]
    assert peer_answers.read(json.dumps(document).encode(), form, {0: 4}, "user_id") is None


def test_a_right_answer_is_read_and_its_messages_have_an_end() -> None:
    document = {"predictions": [1.0, None], "errors": [REFUSED | {"row": 9, "message": "x" * 10_000}]}
    read = peer_answers.read(json.dumps(document).encode(), PREDICT, {8: 4, 9: 5}, "user_id")
    assert read is not None
    values, errors = read
    assert (values, errors[5].status, len(errors[5].message)) == ([1.0, None], 404, 4096)
    steps = {"forecasts": [[STEP]], "errors": []}
    assert peer_answers.read(json.dumps(steps).encode(), FORECAST, {0: 4}, "user_id") == ([[STEP]], {})


async def test_the_next_server_answers_the_rows_and_the_batch_is_whole() -> None:
    """Over a real socket; with heads that are broken too."""
    documents = [document for form, document in BROKEN.values() if form is PREDICT]
    sent: list[tuple[bytes, dict[str, str]]] = [(json.dumps(each).encode(), {}) for each in documents]
    right = b'{"predictions":[666.0],"errors":[]}'
    sent += [(b"<html>", {}), (right, {"Content_Type": "text/html"}), (right, {"content_length": "5"})]
    sent += [(right, {"Transfer_Encoding": "chunked"}), (right, {"Tenantry_Server": "evil"})]
    cases = iter(sent)

    async def hostile(exchange: Exchange) -> None:
        await exchange.body()
        body, headers = next(cases)
        await exchange.answer(body, 200, **headers)

    rows = {"rows": [{"user_id": USER, "x": 1.0}, {"user_id": "nobody", "x": 1.0}]}
    async with serving(hostile) as (servers, peer), aiohttp.ClientSession() as session:
        known = servers["a"].peers.peers["peer"]
        for place, case in enumerate(sent):
            await until_soon(lambda: known.usable)
            async with session.post(f"{servers['a'].url}/predict", json=rows) as response:
                answer = await response.json()
            assert (response.status, answer["predictions"]) == (200, [1.0, None]), case
            assert [error["row"] for error in answer["errors"]] == [1], case
            assert len(peer.seen) == place + 1, case
