"""Three servers and one client: who answers, and that nobody can tell but by the headers."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tenantry.errors import ArtifactUnavailable
from tenantry.model_id import public_name
from tenantry.registry import ServerReport
from tenantry_server.predicting.answer import Pace
from tenantry_server.predicting.loading import load_backoff
from tenantry_server.toys import SlowModel, SumModel
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster, Node, user_for

ROWS = {"instances": [[1.0, 2.0]]}
LONG_BODY_BYTES = 300_000
BODY_BYTES = 1 << 20


class Quick(SumModel):
    """Says that it only computes, so that it is answered at once from its second call on."""

    may_block = False

    def predict_rows(self, rows: Any) -> Any:
        return rows.sum(axis=1) + self.plus


HOLDERS = {"ann": "a", "bob": "b", "cid": "c", "slow": "b"}
MODELS = {"ann": Quick, "bob": lambda: Quick(1), "cid": SumModel, "slow": lambda: SlowModel(0.01)}
WAYS = ["/predict/{}", "/predict/{}?the=long+way", "/v1/models/{}:predict"]


@pytest.fixture
async def three() -> AsyncIterator[Cluster]:
    async with cluster.running(MODELS, HOLDERS, max_body_bytes=BODY_BYTES) as three:
        yield three


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Reply:
    """Of one request, read whole."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.server = headers.get("Tenantry-Server")
        self.hop = headers.get("Tenantry-Hop")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(session: aiohttp.ClientSession, node: Node, path: str, body: Any = ROWS, **how: Any) -> Reply:
    """A prediction; the headers that it is sent with are `headers`."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    async with session.post(f"{node.url}{path}", data=body, **how) as response:
        return Reply(response.status, response.headers, await response.read())


async def until_quick(session: aiohttp.ClientSession, node: Node, user_id: str) -> None:
    """Until this server answers at once: the first calls on a busy machine may be measured as slow ones."""
    for _ in range(200):
        await ask(session, node, f"/predict/{user_id}", headers={"Tenantry-Hop": "test"})
        if node.plane.models.pace(user_id) is Pace.QUICK:
            return


@pytest.mark.parametrize("way", WAYS)
async def test_the_holder_answers_wherever_a_request_arrives(
    three: Cluster, session: aiohttp.ClientSession, way: str
) -> None:
    for _ in range(3):  # cold, then measured, then at once
        for node in three.nodes.values():
            reply = await ask(session, node, way.format("bob"))
            assert (reply.status, reply.json) == (200, {"predictions": [4.0]})
            assert (reply.server, reply.headers["Tenantry-Model-Id"]) == ("b", public_name("bob"))
            assert reply.hop == (None if node.server_id == "b" else node.server_id)
            assert len(reply.headers.getall("Content-Length")) == 1
    assert [node.models.loads for node in three.nodes.values()] == [[], ["bob"], []]


USER_ROUTES = [
    ("POST", "/predict/bob", ROWS),
    ("POST", "/v1/models/bob:predict", ROWS),
    ("GET", "/v1/models/bob", None),
    (
        "POST",
        "/v2/models/bob/infer",
        {"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]},
    ),
    ("GET", "/v2/models/bob", None),
    ("GET", "/v2/models/bob/ready", None),
    ("GET", "/v2/models/bob/versions/unpinned/ready", None),
    ("POST", "/v2/repository/models/bob/load", None),
    ("POST", "/v2/repository/models/bob/unload", None),
]


@pytest.mark.parametrize(("method", "path", "body"), USER_ROUTES, ids=[path for _, path, _ in USER_ROUTES])
async def test_every_route_that_names_a_user_is_passed_on_and_answered_the_same(
    three: Cluster, session: aiohttp.ClientSession, method: str, path: str, body: Any
) -> None:
    answers = []
    for node in (three["b"], three["a"]):
        async with session.request(method, f"{node.url}{path}", json=body) as response:
            answers.append((response.status, await response.read(), response.content_type))
            assert response.headers["Tenantry-Server"] == "b"
    assert answers[0] == answers[1]
    assert answers[0][0] == 200
    assert three["a"].counts == {"answered": 1}


async def test_load_and_unload_reach_the_holder(three: Cluster, session: aiohttp.ClientSession) -> None:
    """Also where another server has the model and would answer a prediction with it."""
    await until_quick(session, three["a"], "bob")
    assert (await ask(session, three["a"], "/predict/bob")).server == "a"
    assert (await ask(session, three["a"], "/v2/repository/models/bob/load", b"")).server == "b"
    assert three["b"].plane.models.is_loaded("bob")
    await ask(session, three["a"], "/v2/repository/models/bob/unload", b"")
    assert not three["b"].plane.models.is_loaded("bob")
    assert three["a"].plane.models.is_loaded("bob")


@pytest.mark.parametrize("way", WAYS)
async def test_a_quick_model_in_memory_answers_where_the_request_arrives(
    three: Cluster, session: aiohttp.ClientSession, way: str
) -> None:
    reply = await ask(session, three["a"], way.format("bob"), headers={"Tenantry-Hop": "test"})
    assert (reply.server, reply.hop) == ("a", None)
    await until_quick(session, three["a"], "bob")
    reply = await ask(session, three["a"], way.format("bob"))
    assert (reply.server, reply.hop, three["a"].counts) == ("a", None, {})


async def test_a_slow_model_in_memory_is_left_to_its_holder(
    three: Cluster, session: aiohttp.ClientSession
) -> None:
    await ask(session, three["a"], "/predict/slow", headers={"Tenantry-Hop": "test"})
    assert (await ask(session, three["a"], "/predict/slow")).server == "b"


@pytest.mark.parametrize("way", WAYS)
async def test_a_request_is_passed_on_once(
    three: Cluster, session: aiohttp.ClientSession, way: str
) -> None:
    """Whatever the maps of two servers say of one another."""
    reply = await ask(session, three["c"], way.format("bob"), headers={"Tenantry-Hop": ""})
    assert (reply.status, reply.server, reply.hop) == (200, "c", None)
    assert all(node.counts == {} for node in three.nodes.values())


async def test_a_request_for_an_unknown_user_is_not_passed_on(
    three: Cluster, session: aiohttp.ClientSession
) -> None:
    reply = await ask(session, three["a"], "/predict/nobody")
    assert (reply.status, reply.server, three["a"].counts) == (404, "a", {})
    assert reply.headers["Tenantry-Reason"] == "ModelNotAssigned"


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_of_the_holder_reaches_the_client_unchanged(
    three: Cluster, session: aiohttp.ClientSession, way: str
) -> None:
    path = way.format("bob")
    there = await ask(session, three["b"], path, b"{")
    passed = await ask(session, three["a"], path, b"{")
    assert (passed.status, passed.body) == (there.status, there.body) == (422, there.body)
    assert (passed.server, passed.headers["Tenantry-Reason"]) == ("b", "InvalidRequest")
    again = await ask(session, three["a"], path)
    assert again.status == 200


@pytest.mark.parametrize("way", WAYS)
async def test_compressed_and_chunked_bodies_arrive_unchanged(
    three: Cluster, session: aiohttp.ClientSession, way: str
) -> None:
    plain = json.dumps(ROWS).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for cut in range(0, len(plain), 5):
            yield plain[cut : cut + 5]
            await asyncio.sleep(0.001)

    zipped = {"Content-Encoding": "gzip"}
    for body, headers in ((gzip.compress(plain), zipped), (pieces(), {}), (b"no gzip", zipped)):
        reply = await ask(session, three["a"], way.format("bob"), body, headers=headers)
        if body == b"no gzip":
            assert reply.status == 400
        else:
            assert (reply.status, reply.json, reply.server) == (200, {"predictions": [4.0]}, "b")


async def test_a_body_is_passed_on_while_it_arrives(three: Cluster, session: aiohttp.ClientSession) -> None:
    """And bounded on the way, before all of it has come."""
    many = {"instances": [[0.5, 2.0]] * (LONG_BODY_BYTES // 12)}

    async def pieces(body: bytes, times: int = 1) -> AsyncIterator[bytes]:
        for _ in range(times):
            for cut in range(0, len(body), 20_000):
                yield body[cut : cut + 20_000]
                await asyncio.sleep(0)

    body = json.dumps(many).encode()
    reply = await ask(session, three["a"], "/predict/bob", pieces(body))
    assert reply.json == {"predictions": [3.5] * len(many["instances"])}
    assert reply.server == "b"
    zipped = {"Content-Encoding": "gzip"}
    too_much: list[tuple[Any, dict[str, str]]] = [
        (pieces(b" " * 100_000, 20), {}),
        (io.BytesIO(b" " * (BODY_BYTES + 1)), {}),
        (gzip.compress(b" " * 2 * BODY_BYTES), zipped),
    ]
    for large, headers in too_much:
        reply = await ask(session, three["a"], "/predict/bob", large, headers=headers)
        assert (reply.status, reply.headers["Tenantry-Reason"]) == (413, "RequestTooLarge")
        assert reply.server == "a", "before the peer has seen too much"
    assert (await ask(session, three["a"], "/predict/bob")).server == "b"


async def test_binary_tensors_pass_unchanged(three: Cluster, session: aiohttp.ClientSession) -> None:
    values = np.random.default_rng(0).normal(size=(500, 2))
    head = {
        "inputs": [
            {
                "name": "input",
                "datatype": "FP64",
                "shape": list(values.shape),
                "parameters": {"binary_data_size": values.nbytes},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    replies = [
        await ask(session, three[name], "/v2/models/bob/infer", text + values.tobytes(), headers=headers)
        for name in "bac"
    ]
    length = int(replies[0].headers["Inference-Header-Content-Length"])
    assert np.frombuffer(replies[0].body[length:]) == pytest.approx(values.sum(axis=1) + 1)
    for reply in replies[1:]:
        assert (reply.body, reply.server) == (replies[0].body, "b")
        assert reply.headers["Inference-Header-Content-Length"] == str(length)
        assert reply.headers["Content-Type"] == "application/octet-stream"


async def test_a_server_that_knows_no_other_answers_everything(session: aiohttp.ClientSession) -> None:
    async with cluster.running(MODELS, HOLDERS, names="a") as alone:
        assert (await ask(session, alone["a"], "/predict/bob")).server == "a"
        assert alone["a"].counts == {}


async def test_a_holder_that_is_gone_is_replaced_by_the_same_server_everywhere(
    session: aiohttp.ClientSession,
) -> None:
    """The next in rendezvous order, which will be given the shard."""
    user = user_for("b", "c", "a")
    async with cluster.running({user: Quick}, {user: "b"}) as three:
        await three["b"].stop()
        for name, counts in (("c", {"self": 1}), ("a", {"failed_over": 1, "answered": 1})):
            for _ in range(2):
                reply = await ask(session, three[name], f"/predict/{user}")
                assert (reply.status, reply.server) == (200, "c")
                await until_quick(session, three["c"], user)
            assert three[name].counts == counts, name


async def test_two_holders_share_their_users_requests_by_their_load(
    session: aiohttp.ClientSession,
) -> None:
    user = user_for("c", "b", "a")
    async with cluster.running({user: Quick}, {user: "b"}, replicas={user: 2}) as three:
        servers = {(await ask(session, three["a"], f"/predict/{user}")).server for _ in range(40)}
        assert servers == {"b", "c"}, "equal loads: chance decides"
        three.introduce(b=ServerReport(load=0.9))
        assert {(await ask(session, three["a"], f"/predict/{user}")).server for _ in range(10)} == {"c"}
        for name in "bc":
            assert (await ask(session, three[name], f"/predict/{user}")).server == name, "a holder answers"


async def test_a_busy_holder_gives_a_slow_model_to_another_one(session: aiohttp.ClientSession) -> None:
    user = user_for("c", "b", "a")
    models = {user: lambda: SlowModel(0.01)}
    # The processor's time is measured, and to sleep takes none.
    async with cluster.running(models, {user: "b"}, replicas={user: 2}) as three:
        await ask(session, three["b"], f"/predict/{user}")
        resident = three["b"].cache.peek(user)
        assert resident is not None
        for _ in range(100):
            resident.took(0.01)
        assert (await ask(session, three["b"], f"/predict/{user}")).server == "b"
        three.introduce(b=ServerReport(load=0.9), c=ServerReport(load=0.2))
        assert (await ask(session, three["b"], f"/predict/{user}")).server == "c"
        three.introduce(b=ServerReport(load=0.9), c=ServerReport(load=0.95))
        assert (await ask(session, three["b"], f"/predict/{user}")).server == "b"


async def test_passed_on_requests_are_counted(three: Cluster, session: aiohttp.ClientSession) -> None:
    await ask(session, three["a"], "/predict/bob")
    await three["c"].stop()
    await ask(session, three["a"], "/predict/cid")
    async with session.get(f"{three['a'].url}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
        seen = {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }
    assert seen["tenantry_forwarded_total", "answered"] == 1
    assert seen["tenantry_forwarded_total", "self"] + seen["tenantry_forwarded_total", "failed_over"] == 1
    assert (seen["tenantry_peers",], seen["tenantry_peers_down",]) == (2, 1)
    assert seen["tenantry_requests_total", "200"] == 2


# A server that can't reach the store

AWAY = ArtifactUnavailable("s3://models/bob", "ConnectTimeoutError")


@pytest.mark.parametrize("way", WAYS)
async def test_a_model_that_the_holder_cannot_load_is_loaded_by_another_server(
    three: Cluster, session: aiohttp.ClientSession, way: str
) -> None:
    """Wherever the request arrives."""
    three["b"].models.failure = AWAY
    for node in three.nodes.values():
        reply = await ask(session, node, way.format("bob"))
        assert (reply.status, reply.json) == (200, {"predictions": [4.0]})
        assert reply.server in ("a", "c")
    assert three["b"].counts == {"answered": 1}


@pytest.mark.parametrize("way", WAYS)
async def test_where_the_store_is_out_of_reach_here_too_the_next_one_is_asked(
    session: aiohttp.ClientSession, way: str
) -> None:
    """It would not be asked otherwise: this server comes before it."""
    user_id = user_for("b", "a", "c")
    async with cluster.running({user_id: SumModel}, {user_id: "b"}) as servers:
        for name in ("a", "b"):
            servers[name].models.failure = AWAY
        reply = await ask(session, servers["a"], way.format(user_id))
        assert (reply.status, reply.server) == (200, "c")
        assert len(servers["b"].models.loads) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_the_reason_reaches_the_client_where_no_server_reaches_the_store(
    three: Cluster, session: aiohttp.ClientSession, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_backoff, "_FIRST_S", 60.0)
    for node in three.nodes.values():
        node.models.failure = AWAY
    for node in three.nodes.values():
        reply = await ask(session, node, way.format("bob"))
        assert (reply.status, reply.headers["Tenantry-Reason"]) == (503, "ArtifactUnavailable")
        assert int(reply.headers["Retry-After"]) >= 1
        assert reply.server == node.server_id
    assert [len(node.models.loads) for node in three.nodes.values()] == [1, 1, 1], "each tried once"


async def test_a_refusal_of_the_store_is_final(three: Cluster, session: aiohttp.ClientSession) -> None:
    three["b"].models.failure = ArtifactUnavailable("s3://models/bob", "HTTP 503", reached=True)
    reply = await ask(session, three["b"], "/predict/bob")
    assert (reply.status, reply.server) == (503, "b")
    assert three["b"].counts == {}


async def test_a_failed_load_request_is_not_passed_to_another_server(
    three: Cluster, session: aiohttp.ClientSession
) -> None:
    three["b"].models.failure = AWAY
    reply = await ask(session, three["b"], "/v2/repository/models/bob/load", b"")
    assert (reply.status, reply.server) == (503, "b")
    assert three["a"].models.loads == three["c"].models.loads == []
