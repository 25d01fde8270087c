"""Both clients, with rows of many users: one request for each holder, an error for each row that fails."""

import asyncio
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tenantry.client import ClientError, NotAssigned, RequestRefused, Unavailable
from tests.integration.client.test_clients import (
    HOLDERS,
    MODELS,
    Both,
    connect,
    moved,
    trio,
)
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster

__all__ = ["connect", "trio"]  # fixtures
ROWS: list[dict[str, Any]] = [
    {"store": user, "x": float(n), "y": 1.0} for n in range(30) for user in ("ann", "bob", "cid")
]
WANTED = [row["x"] + row["y"] + (row["store"] == "bob") for row in ROWS]


@pytest.mark.parametrize("given", [ROWS, pd.DataFrame(ROWS)], ids=["records", "frame"])
async def test_each_holder_is_asked_once_and_passes_nothing_on(
    trio: Cluster, connect: Callable[..., Both], given: Any
) -> None:
    ask = connect(trio["a"].url)
    answer = await ask("predict_many", given, user_column="store")
    assert answer.values == WANTED
    assert answer.errors == {}
    assert (len(answer), answer[1], list(answer)) == (len(ROWS), WANTED[1], WANTED)
    assert [node.counts for node in trio.nodes.values()] == [{}, {}, {}]
    assert {name: set(node.models.loads) for name, node in trio.nodes.items()} == {
        "a": {"ann"},
        "b": {"bob"},
        "c": {"cid"},
    }


async def test_a_row_that_fails_is_its_error(trio: Cluster, connect: Callable[..., Both]) -> None:
    """What `predict` would raise, and the number of the row as the caller counts."""
    ask = connect(trio["a"].url)
    rows: list[dict[str, Any]] = [*ROWS]
    rows[1:1] = [
        {"store": "bob", "x": "no", "y": 1.0},
        {"store": "nobody", "x": 1.0, "y": 1.0},
        {"x": 1.0},
        {"store": 42, "x": 1.0},
        {"store": "err", "x": 1.0, "y": 1.0},
    ]
    answer = await ask("predict_many", rows, user_column="store")
    assert [answer[0], *answer.values[6:]] == WANTED
    assert {row: (type(e), e.reason, e.status) for row, e in answer.errors.items()} == {
        1: (RequestRefused, "FeatureMismatch", 422),
        2: (NotAssigned, "ModelNotAssigned", 404),
        3: (RequestRefused, "InvalidRequest", 422),
        4: (RequestRefused, "InvalidRequest", 422),
        5: (type(answer[5]), "PredictionFailed", 500),
    }
    for row in (1, 3, 4):
        assert str(answer[row]).startswith(f"row {row}"), answer[row]


async def test_a_holder_that_is_gone_is_made_up_for(trio: Cluster, connect: Callable[..., Both]) -> None:
    """As for a single request: no connection, so the next server answers; without any, each row says so."""
    ask = connect(trio["a"].url, timeout_s=60.0)
    assert (await ask("predict_many", ROWS, user_column="store")).values == WANTED
    await trio["b"].stop()
    assert (await ask("predict_many", ROWS, user_column="store")).values == WANTED
    for name in "ac":
        await trio[name].stop()
    answer = await ask("predict_many", ROWS[:4], user_column="store")
    assert [error.reason for error in answer] == ["NoServer"] * 4


async def test_moved_users_are_asked_for_at_their_new_holder(
    trio: Cluster, connect: Callable[..., Both]
) -> None:
    """By the map that an answer has called newer; until then rows are passed on, and none is lost."""
    ask = connect(trio["a"].url)
    await ask("predict_many", ROWS, user_column="store")
    moved(trio, HOLDERS | {"ann": "c"}, 8)
    async with asyncio.timeout(60):
        while "ann" not in trio["c"].models.loads:
            assert (await ask("predict_many", ROWS, user_column="store")).values == WANTED


async def test_a_request_that_is_refused_whole_is_the_error_of_its_rows(
    trio: Cluster, connect: Callable[..., Both]
) -> None:
    ask = connect(trio["a"].url)
    await ask("predict_many", ROWS, user_column="store")
    for node in trio.nodes.values():
        node.lease(held=False)
    answer = await ask("predict_many", ROWS[:3], user_column="store", fresh=True, timeout_s=60.0)
    assert {type(error) for error in answer} == {Unavailable}
    assert {error.reason for error in answer} == {"LeaseLost"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (5, "a DataFrame or a list of records, got int"),
        ([[1.0]], "a list of records"),
        (pd.DataFrame({"x": [1.0]}), "no column 'user_id', which names the user; the rows have 'x'"),
        ([{"user_id": "ann", "x": float("inf")}], "infinity"),
    ],
)
async def test_what_is_no_rows_is_refused_before_anything_is_sent(
    trio: Cluster, connect: Callable[..., Both], rows: Any, words: str
) -> None:
    ask = connect(trio["a"].url)
    with pytest.raises(ClientError, match=words):
        await ask("predict_many", rows)
    assert (await ask("predict_many", [])).values == []


async def test_many_rows_go_in_several_requests(
    connect: Callable[..., Both], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that a server takes for too large is halved, until one row alone is too large."""
    monkeypatch.setattr("tenantry.client.batches._ROWS", 25)
    async with cluster.running(MODELS, HOLDERS, max_batch_rows=10, max_body_bytes=5_000) as trio:
        ask = connect(trio["a"].url)
        large = {"store": "ann", "x": 1.0, "y": 1.0, "note": "n" * 5_000}
        answer = await ask("predict_many", [*ROWS, large], user_column="store")
    assert answer.values[:-1] == WANTED
    assert (type(answer[-1]), answer[-1].status) == (RequestRefused, 413)
