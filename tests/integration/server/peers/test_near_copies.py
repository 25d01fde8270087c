"""A server answers for other servers' tenants from near copies: which, whose, and never an older one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from tenantry.placement import shard_of
from tenantry.registry import Assignment, Changes, Holding
from tenantry_server import CachedModelRepository, bounded_cache
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.kernels import arrays
from tenantry_server.kernels.affine import Affine
from tenantry_server.kernels.base import Compiled, Head
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.peers import near_copies
from tenantry_server.peers.near_copies import NearCopies
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import parse
from tenantry_server.toys import SumModel
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster, Models, Silent
from tests.support.waiting import until_soon

ROWS = {"instances": [[1.0, 2.0]]}
HOLDERS = {"ann": "a", "bob": "b", "sue": "b"}
NEAR_BYTES = 1 << 20


def line(intercept: float) -> Compiled:
    return Affine(Head(None, 2, False), np.array([1.0, 1.0]), float(intercept))


MODELS: dict[str, Callable[[], Any]] = {
    "ann": lambda: line(0),
    "bob": lambda: line(10),
    "bob-2": lambda: line(20),
    "sue": SumModel,
}


@pytest.fixture
async def pair() -> AsyncIterator[Cluster]:
    async with cluster.running(MODELS, HOLDERS, names="ab", near_cache_bytes=NEAR_BYTES) as pair:
        yield pair


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(session: aiohttp.ClientSession, url: str, user_id: str) -> tuple[str, list[float]]:
    """Who answered, and what."""
    async with session.post(f"{url}/predict/{user_id}", json=ROWS) as response:
        assert response.status == 200, await response.text()
        return response.headers["Tenantry-Server"], (await response.json())["predictions"]


async def until_near(session: aiohttp.ClientSession, pair: Cluster, user_id: str) -> int:
    """Ask server a for a tenant of b until a answers; returns how many b has answered."""
    async with asyncio.timeout(20):
        for passed_on in range(10_000):
            server, predictions = await ask(session, pair["a"].url, user_id)
            assert predictions == [13.0]
            if server == "a":
                return passed_on
            await asyncio.sleep(0.01)
    raise AssertionError


async def test_what_was_asked_for_is_answered_here(pair: Cluster, session: aiohttp.ClientSession) -> None:
    assert await until_near(session, pair, "bob") >= 1
    a = pair["a"]
    assert a.models.loads == []
    assert (len(a.cache), a.cache.used_bytes) == (0, 0), "it takes no room of its own models"
    near = a.cache.near
    assert near is not None
    assert (len(near), near.used_bytes > 0) == (1, True)


async def test_a_new_version_is_not_answered_from_the_copy_of_the_old_one(
    pair: Cluster, session: aiohttp.ClientSession
) -> None:
    await until_near(session, pair, "bob")
    for name in "ba":
        row = Assignment("bob", "uid-bob", 2, "bob-2")
        _, gone = pair[name].table.apply(Changes(2, complete=False, assignments=[row], shards={}))
        assert gone == {"bob"}
        assert (await ask(session, pair["a"].url, "bob"))[1] == [23.0 if name == "a" else 13.0]


async def test_without_a_lease_no_copy_answers(pair: Cluster, session: aiohttp.ClientSession) -> None:
    await until_near(session, pair, "bob")
    pair["a"].lease(held=False)
    assert (await ask(session, pair["a"].url, "bob")) == ("b", [13.0])


async def test_a_model_that_is_no_kernel_is_asked_for_once_only(
    pair: Cluster, session: aiohttp.ClientSession
) -> None:
    await ask(session, pair["a"].url, "sue")
    async with asyncio.timeout(20):
        while "sue" not in pair["a"].copies._never:
            await ask(session, pair["a"].url, "sue")
            await asyncio.sleep(0.01)
    assert (await ask(session, pair["a"].url, "sue"))[0] == "b"
    assert not pair["a"].copies._waiting


async def test_many_are_copied_by_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is lost where the answer has more of them than requests wait for in a row."""
    by_shard = {shard_of(f"user-{n}"): f"user-{n}" for n in range(400)}
    users = sorted(by_shard.values())[:100]
    asked: list[list[str]] = []
    copy = NearCopies._copy

    async def noted(self: NearCopies, owner: str, model_ids: list[str]) -> float:
        asked.append(model_ids)
        return await copy(self, owner, model_ids)

    monkeypatch.setattr(NearCopies, "_copy", noted)
    models = {user: partial(line, n) for n, user in enumerate(users)}
    running = cluster.running(models, dict.fromkeys(users, "b"), names="ab", near_cache_bytes=NEAR_BYTES)
    async with running as pair, aiohttp.ClientSession() as session:
        a, b = pair["a"], pair["b"]
        for user in users:
            b.cache.get_resident(user).took(1e-6)
            a.copies.passed_on(user)
        near = a.cache.near
        assert near is not None
        await until_soon(lambda: len(near) == len(users))
        assert [sorted(one) for one in asked] == [users]
        for n, user in enumerate(users):
            assert await ask(session, a.url, user) == ("a", [3.0 + n])


def described(model_id: str, call_s: Any, *packed: bytes) -> bytes:
    """What a peer sends."""
    document = {"kernels": [{"model": model_id, "call_s": call_s}], "never": [model_id]}
    return b"".join(arrays.encode(document, [np.frombuffer(one, np.uint8) for one in packed]))


HOSTILE: dict[str, Callable[[str], bytes]] = {
    "no arrays": lambda asked: asked.encode(),
    "another form": lambda asked: b"".join(arrays.encode({"kernels": len(asked), "never": []})),
    "no kernel": lambda asked: described(asked, 0.0, b"\0" * 9),
    "fewer kernels than it says": lambda asked: described(asked, 0.0),
    "one that nobody asked for": lambda asked: described(
        asked.replace("bob", "ann"), 0.0, near_copies._packed(line(66)) or b""
    ),
    "a cost that is none": lambda asked: described(asked, "fast", near_copies._packed(line(66)) or b""),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_what_a_peer_sends_is_checked(case: str) -> None:
    """Another program in the place of b, as one that has written its row into the registry."""
    asked: list[list[str]] = []

    async def kernels(request: web.Request) -> web.Response:
        asked.append(orjson.loads(await request.read())["models"])
        body = HOSTILE[case](asked[-1][0])
        return web.Response(body=body, headers={"Tenantry-Server": "b"})

    async def predict(_request: web.Request) -> web.Response:
        return web.json_response([13.0], headers={"Tenantry-Server": "b"})

    app = web.Application()
    app.add_routes([web.post(near_copies.PATH, kernels), web.post("/predict/{user_id}", predict)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running = cluster.running(MODELS, HOLDERS, names="a", near_cache_bytes=NEAR_BYTES)
    async with running as alone, aiohttp.ClientSession() as session:
        a = alone["a"]
        alone.introduce({"b": f"http://127.0.0.1:{runner.addresses[0][1]}"})
        with capture_logs() as logs:
            async with asyncio.timeout(20):
                while not asked:
                    await session.post(f"{a.url}/predict/bob", json=ROWS)
            async with session.post(f"{a.url}/predict/ann", json=ROWS) as response:
                assert await response.json() == {"predictions": [3.0]}
            async with asyncio.timeout(20):
                while a.copies._waiting:  # noqa: ASYNC110 - worked on beside requests
                    await asyncio.sleep(0.01)
        near = a.cache.near
        assert near is not None
        assert len(near) == 0
        assert case == "one that nobody asked for" or any("can't be read" in log["event"] for log in logs)
    await runner.cleanup()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"models": 7}', b'{"models": [7]}', orjson.dumps({"models": ["x"] * 257})]
)
async def test_a_bad_question_is_refused(
    pair: Cluster, session: aiohttp.ClientSession, body: bytes
) -> None:
    async with session.post(pair["a"].url + near_copies.PATH, data=body) as response:
        assert response.status == 422
        assert (await response.json())["error"]["reason"] == "InvalidRequest"


class Fresh(RuleBasedStateMachine):
    """Versions, leases and copies that arrive at any time; what is answered is always the version in force.

    The operator says Ready for a version once every server that holds a lease has acknowledged it, which is
    after it was applied here. So no answer from here may be of a version before the last one applied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.registry = Silent.__new__(Silent)
        self.table = RoutingTable(self.registry, clock_s=lambda: self.now_s)
        self.near: NearCache[Any] = NearCache(2000)
        self.cache = CachedModelRepository(Models({}), bounded_cache(1 << 20), self.near)
        self.plane = DataPlane(self.table, self.cache)
        self.table.apply(Changes(0, complete=True, assignments=[], shards={shard_of("bob"): Holding("b")}))
        self.version = 0
        self.assign()

    @rule()
    def assign(self) -> None:
        self.version += 1
        row = Assignment("bob", "uid", self.version, f"bob-{self.version}")
        _, gone = self.table.apply(Changes(self.version, complete=False, assignments=[row], shards={}))
        for model_id in gone:
            self.cache.discard(model_id)

    @rule(behind=st.integers(0, 3))
    def a_copy_arrives(self, behind: int) -> None:
        """It may have been asked for before the last versions were applied."""
        version = max(1, self.version - behind)
        self.cache.keep_near(f"bob-{version}", line(version), 1e-6)

    @rule()
    def others_arrive(self) -> None:
        for n in range(8):
            self.cache.keep_near(f"other-{n}", line(n), 1e-6)

    @rule(lasts_s=st.sampled_from([0.0, 5.0]))
    def renew(self, lasts_s: float) -> None:
        self.table.contact.renewed(until_s=self.now_s + lasts_s)

    @rule(passed_s=st.sampled_from([1.0, 10.0]))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s

    @invariant()
    def what_is_answered_is_in_force(self) -> None:
        found = self.plane.models.find_quick("bob")
        if found is None:
            return
        assert self.table.lease_held
        model_id, resident = found
        predictions = self.plane.score_quick("bob", resident, parse(b'{"instances": [[0, 0]]}'))
        assert predictions is not None
        assert (model_id, predictions.tolist()) == (f"bob-{self.version}", [self.version])

    def teardown(self) -> None:
        self.plane.close()


def test_no_near_copy_answers_older_than_ready() -> None:
    run_state_machine_as_test(Fresh, settings=settings(max_examples=60, stateful_step_count=30))
