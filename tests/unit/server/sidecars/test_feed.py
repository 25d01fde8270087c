"""A server with followers, over a real registry: it acknowledges what all of them have in force."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tenantry.errors import InvalidRequest, RegistryUnavailable
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import Changes, ServerRegistry, open_engine
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server.assignments.follower import RegistryFollower
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.sidecars import following as followers
from tenantry_server.sidecars import messages, routes
from tenantry_server.sidecars.feed import LEASE_S, Feed
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.sidecars.following import HttpFetch, ServerFollower
from tenantry_server.wire.errors import responses as error_responses
from tests.support.databases.migrated import migrate
from tests.support.tenants import following
from tests.support.tenants.following import row, tombstone
from tests.support.waiting import PATIENCE_S, until_soon

SECRET = FleetSecrets("correct horse battery staple")


class Rig(following.Rig):
    """A server that can be followed; its clock stands still unless a test moves it."""

    def __init__(self, path: Path) -> None:
        engine = open_engine(f"sqlite:///{path}")
        migrate(engine)
        super().__init__(engine)
        self.feed = Feed(self.table, clock_s=self.clock)
        self.follower = RegistryFollower(
            self.registry,
            self.table,
            self.models,
            poll_s=0.005,
            lease_s=following.LEASE_S,
            changed=self.feed.changed,
            in_force=self.feed.in_force,
            clock_s=self.clock,
        )
        self.feed.acknowledged = self.follower.wake

    def sidecar(self, name: str) -> "Sidecar":
        return Sidecar(self, name)


class Sidecar:
    """Follows within this process, without HTTP."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.name = name
        self.feed = rig.feed
        self.table = FollowedTable(clock_s=rig.clock)
        self.gone: list[str] = []
        self.follower = ServerFollower(
            self.table, lambda: ["server"], self.fetch, discard=self.gone.append, clock_s=rig.clock
        )

    async def fetch(self, _url: str, cursor: str) -> bytes:
        self.feed.heard(self.name, cursor)
        await self.feed.until_newer(cursor, 0.05)
        body = self.feed.answer(self.name, cursor)
        if body is None:
            raise ConnectionError
        return body


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers is waited for, however long the machine stands still."""
    monkeypatch.setattr(followers, "_ANSWER_S", PATIENCE_S)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "registry.db")


@asynccontextmanager
async def served(feed: Feed, secret: FleetSecrets) -> AsyncIterator[str]:
    @web.middleware
    async def errors(request: web.Request, handler: object) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[operator,no-any-return]
        except (InvalidRequest, RegistryUnavailable) as error:
            return error_responses.of_error(error, error_responses.native)

    app = web.Application(middlewares=[errors])
    app.add_routes(routes.routes(feed, secret))
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_two_hundred_sidecars_have_a_change_before_it_is_acknowledged(rig: Rig) -> None:
    rig.assign(row("ann", "a1"), row("bob", "b1"))
    async with rig.running(), asyncio.TaskGroup() as group:
        await until_soon(lambda: rig.table.lease_held)
        sidecars = [rig.sidecar(f"pod-{n}") for n in range(200)]
        tasks = [group.create_task(each.follower.run()) for each in sidecars]
        await until_soon(lambda: all(each.table.lease_held for each in sidecars))
        seen: list[tuple[int, set[str | None]]] = []

        def about_to_acknowledge() -> None:
            seen.append((rig.feed.in_force()[0], {each.table.peek("ann") for each in sidecars}))

        rig.registry.before_renewal = about_to_acknowledge
        second = rig.assign(row("ann", "a2"), tombstone("bob"))
        await until_soon(lambda: rig.acked(second))
        assert all(models == {"a2"} for revision, models in seen if revision == second)
        assert {each.table.get("bob") for each in sidecars} == {None}
        assert all(sorted(each.gone) == ["a1", "b1"] for each in sidecars)
        for task in tasks:
            task.cancel()


async def test_a_silent_sidecar_holds_up_ready_for_its_lease_and_no_longer(rig: Rig) -> None:
    first = rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        paused = rig.sidecar("pod-0")
        assert await paused.follower.ask("server")
        assert (len(rig.feed), rig.feed.behind_s) == (1, 0.0)
        second = rig.assign(row("ann", "a2"))
        await until_soon(lambda: rig.table.peek("ann") == "a2")
        rig.clock.now_s += LEASE_S - 0.1
        assert rig.feed.behind_s == pytest.approx(LEASE_S - 0.1)
        # A renewal that was due anyway acknowledges what the sidecar has, and no more.
        renewed = rig.seen.renewal
        await until_soon(lambda: rig.seen.renewal != renewed)
        assert rig.acked(first)
        assert paused.table.peek("ann") == "a1"
        rig.clock.now_s += 0.2
        assert (len(rig.feed), rig.feed.behind_s) == (0, 0.0), "nothing waits for it any more"
        await until_soon(lambda: rig.acked(second))
        assert paused.table.peek("ann") is None
        assert await paused.follower.ask("server")
        assert paused.table.peek("ann") == "a2"


async def test_a_sidecar_that_asks_and_hears_nothing_holds_up_ready_for_a_lease_and_no_longer(
    rig: Rig,
) -> None:
    """As where a network loses what one side says: its questions come, and acknowledge nothing."""
    rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        deaf = rig.sidecar("pod-0")
        assert await deaf.follower.ask("server")
        second = rig.assign(row("ann", "a2"))
        await until_soon(lambda: rig.table.peek("ann") == "a2")
        for _ in range(3):
            assert rig.feed.in_force()[0] < second
            rig.feed.answer("pod-0", deaf.follower.cursor)  # lost on its way
            rig.clock.now_s += LEASE_S / 3
        assert rig.feed.answer("pod-0", deaf.follower.cursor) is not None
        assert deaf.table.peek("ann") is None
        await until_soon(lambda: rig.acked(second))


async def test_a_history_that_changed_acknowledges_nothing_for_those_who_follow_the_old_one(
    rig: Rig,
) -> None:
    rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        assert await rig.sidecar("pod-0").follower.ask("server")
        rig.table.history_changed()
        assert rig.feed.in_force()[0] == -1
        assert rig.feed.answer("pod-1", "") is None
        await until_soon(lambda: rig.table.lease_held)
        assert rig.feed.in_force()[0] == -1
        rig.clock.now_s += LEASE_S
        assert rig.feed.in_force()[0] == rig.table.revision


async def test_a_server_that_stops_outlasts_the_leases_that_it_granted(rig: Rig) -> None:
    rig.assign(row("ann", "a1"))
    async with rig.running():
        await until_soon(lambda: rig.table.lease_held)
        sidecar = rig.sidecar("pod-0")
        assert await sidecar.follower.ask("server")
        ending = asyncio.create_task(rig.feed.end())
        await asyncio.sleep(0)
        assert not await sidecar.follower.ask("server")
        assert not ending.done()
        rig.clock.now_s += LEASE_S
        await ending
        assert not sidecar.table.lease_held


def at(revision: int) -> Feed:
    """What a server hands out that has read the registry up to a revision, and holds its lease."""
    registry = ServerRegistry(
        open_engine("sqlite://"), "x", endpoint="http://127.0.0.1:1", capacity_bytes=1
    )
    table = RoutingTable(registry)
    feed = Feed(table)
    changes = Changes(revision, True, [row("ann", f"a{revision}")], {}, token=f"t{revision}")
    table.apply(changes)
    feed.changed(changes)
    table.contact.renewed(until_s=boot_clock_s() + 3600)
    return feed


async def test_the_server_that_it_follows_is_gone_and_it_follows_another_one(rig: Rig) -> None:
    table = FollowedTable()
    async with aiohttp.ClientSession() as session, served(at(2), SECRET) as second:
        async with served(at(1), SECRET) as first:
            follower = ServerFollower(table, lambda: [first, second], HttpFetch(session, "pod-0", SECRET))
            assert await follower.ask(first)
            assert table.revision == 1
        task = asyncio.create_task(follower.run())
        await until_soon(lambda: table.revision == 2)
        await until_soon(lambda: table.peek("ann") == "a2")
        task.cancel()


async def test_a_server_that_is_behind_takes_nothing_back(rig: Rig) -> None:
    """It may be followed once the lease is over: it is never older than Ready."""
    table = FollowedTable(clock_s=rig.clock)
    newer, older = at(2).answer("pod-0", ""), at(1).answer("pod-0", "")
    assert newer is not None
    assert older is not None
    follower = ServerFollower(table, list, HttpFetch, clock_s=rig.clock)  # type: ignore[arg-type]
    assert follower.take(messages.decode(newer), rig.clock.now_s)
    assert not follower.take(messages.decode(older), rig.clock.now_s)
    assert table.peek("ann") == "a2"
    rig.clock.now_s += LEASE_S
    assert follower.take(messages.decode(older), rig.clock.now_s)


@pytest.mark.parametrize("secret", [None, FleetSecrets("another one")], ids=["none", "wrong"])
async def test_who_does_not_know_the_secret_of_the_fleet_follows_nobody(
    rig: Rig, secret: FleetSecrets | None
) -> None:
    rig.assign(row("ann", "a1"))
    async with rig.running(), aiohttp.ClientSession() as session, served(rig.feed, SECRET) as url:
        await until_soon(lambda: rig.table.lease_held)
        with pytest.raises(ConnectionError, match="TENANTRY_FLEET_SECRET"):
            await HttpFetch(session, "pod-0", secret)(url, "")
        assert len(rig.feed) == 0
        assert messages.decode(await HttpFetch(session, "pod-0", SECRET)(url, "")).changes
        assert len(rig.feed) == 1


async def test_a_name_or_a_cursor_that_is_none_is_refused_or_read_as_no_cursor(rig: Rig) -> None:
    rig.assign(row("ann", "a1"))
    async with rig.running(), aiohttp.ClientSession() as session, served(rig.feed, SECRET) as url:
        await until_soon(lambda: rig.table.lease_held)
        with pytest.raises(ConnectionError, match="422"):
            await HttpFetch(session, "a b", SECRET)(url, "")
        for cursor in ("x", ".", "x.1", "x.-1", f"{'9' * 5000}", "\x00"):
            (everything,) = messages.decode(await HttpFetch(session, "pod-0", SECRET)(url, cursor)).changes
            assert everything.complete
