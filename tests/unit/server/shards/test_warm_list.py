"""What is warm at one server is known to the one that takes over, over real sockets."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tenantry.placement import shard_of
from tenantry.registry import Assignment, Holding, ServerRegistry, ServerReport, Writes, open_engine
from tenantry_server.app import make_app
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers import warm_query
from tenantry_server.shards.hot_users import HotUsers
from tenantry_server.shards.warm_list import WarmList
from tenantry_server.toys import SumModel
from tests.support.databases.migrated import migrate
from tests.support.databases.whole import whole
from tests.support.tenants.operator_side import leading

USERS = ("ann", "bob", "cid", "dan")


class Models(ModelRepository):
    def get_model(self, model_id: str) -> SumModel:  # noqa: ARG002 - any id is a model
        return SumModel()


class Server:
    """One server's part in a hand-over, listening."""

    def __init__(self, fleet: "Fleet", server_id: str) -> None:
        self.engine = open_engine(fleet.url)
        self.registry = ServerRegistry(self.engine, server_id, endpoint="", capacity_bytes=1)
        self.table = RoutingTable(self.registry)
        self.models = CachedModelRepository(Models(), bounded_cache(1 << 20))
        self.hot = HotUsers(self.registry, self.table, self.models, limit=10, every_s=600)
        self.warm_list = WarmList(self.registry, self.table, self.hot, server_id=server_id)
        self.runner: web.AppRunner | None = None

    async def listen(self) -> None:
        app = make_app(self.table, self.models)
        app.add_routes(warm_query.routes(self.hot.in_memory))
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.registry._endpoint = self.url
        self.registry.renew(lease_s=60, acked_revision=0, report=ServerReport())

    def read(self) -> None:
        self.table.apply(whole(self.registry))

    def use(self, *users: str) -> None:
        for user in users:
            self.models.get_model(f"model-{user}")

    async def close(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
        self.engine.dispose()


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/registry.db"
        self.engine = open_engine(self.url)
        migrate(self.engine)
        self.operator = leading(self.engine)
        self.operator.commit(
            Writes(assignments=[Assignment(user, f"uid-{user}", 1, f"model-{user}") for user in USERS])
        )
        self.servers: list[Server] = []

    async def server(self, name: str) -> Server:
        server = Server(self, name)
        self.servers.append(server)
        await server.listen()
        return server

    def place(self, **owners: str) -> None:
        """New holds none yet, and is to take over all of it."""
        self.operator.assign_shards(
            {shard_of(user): Holding(owner, next_id="new") for user, owner in owners.items()}
        )
        for server in self.servers:
            server.read()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    for server in fleet.servers:
        await server.close()
    fleet.engine.dispose()


def shards_of(*users: str) -> list[int]:
    return [shard_of(user) for user in users]


async def test_the_holder_tells_what_is_warm_the_most_recently_used_first(fleet: Fleet) -> None:
    """Of the shards that were asked about, and only what is in memory."""
    old, new = await fleet.server("old"), await fleet.server("new")
    fleet.place(ann="old", bob="old", cid="old", dan="old")
    old.use("ann", "bob", "dan")
    old.use("ann")
    assert await new.warm_list.users_of(shards_of("ann", "bob", "cid")) == ["ann", "bob"]


async def test_a_row_that_proves_nothing_is_not_asked(fleet: Fleet) -> None:
    """Anybody who may write a row could otherwise say which models this server loads."""
    invented, new = await fleet.server("invented"), await fleet.server("new")
    fleet.place(ann="invented")
    invented.use("ann")
    assert await new.warm_list.users_of(shards_of("ann")) == ["ann"]
    cautious = WarmList(new.registry, new.table, new.hot, server_id="new", proven=lambda _: [])
    assert await cautious.users_of(shards_of("ann")) == []
    assert await cautious.in_memory_elsewhere({"ann"}) == set()


async def test_several_holders_tell_by_turns(fleet: Fleet) -> None:
    one, two = await fleet.server("one"), await fleet.server("two")
    new = await fleet.server("new")
    fleet.place(ann="one", bob="two", cid="two", dan="one")
    one.use("ann", "dan")
    two.use("bob", "cid")
    users = await new.warm_list.users_of(shards_of(*USERS))
    assert set(users) == set(USERS)
    assert {frozenset(users[:2]), frozenset(users[2:])} == {
        frozenset({"dan", "cid"}),
        frozenset({"ann", "bob"}),
    }


@pytest.mark.parametrize("how", ["gone", "unknown"])
async def test_of_a_holder_that_does_not_answer_the_list_in_the_registry_stands_in(
    fleet: Fleet, how: str
) -> None:
    old, new = await fleet.server("old"), await fleet.server("new")
    fleet.place(ann="old", bob="old")
    old.registry.remember_hot(dict.fromkeys(["bob", "dan", "ann"], 0))
    if how == "gone":
        assert old.runner is not None
        await old.runner.cleanup()
    else:
        old.registry.release()
    with capture_logs() as logs:
        assert await new.warm_list.users_of(shards_of("ann", "bob")) == ["bob", "ann"]
    assert [line["event"] for line in logs] == (
        ["a server does not say which models are warm there"] if how == "gone" else []
    )


async def test_a_shard_that_is_ours_or_nobodys_is_not_asked_about(fleet: Fleet) -> None:
    new = await fleet.server("new")
    fleet.place(ann="new")
    new.use("ann")
    assert await new.warm_list.users_of(shards_of("ann", "bob")) == []


@pytest.mark.parametrize(
    "query", ["", "?shards=", "?shards=1024", "?shards=-1", "?shards=1,,2", "?shards=x"]
)
async def test_a_question_that_makes_no_sense_is_refused(fleet: Fleet, query: str) -> None:
    old = await fleet.server("old")
    async with aiohttp.ClientSession() as session, session.get(f"{old.url}/peers/warm{query}") as reply:
        assert reply.status == 422
        assert (await reply.json())["error"]["reason"] == "InvalidRequest"


async def test_what_other_servers_have_in_memory_is_known_and_owners_do_not_matter(fleet: Fleet) -> None:
    one, two = await fleet.server("one"), await fleet.server("two")
    new = await fleet.server("new")
    fleet.place(ann="one", bob="one", cid="two", dan="two")
    one.use("ann", "cid")
    two.use("bob")
    new.use("dan")
    assert await new.warm_list.in_memory_elsewhere(USERS) == {"ann", "bob", "cid"}
    assert await new.warm_list.in_memory_elsewhere(["cid", "dan"]) == {"cid"}
    two.registry.release()
    assert await new.warm_list.in_memory_elsewhere(["ann", "bob"]) == {"ann"}
