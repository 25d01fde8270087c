"""A row in the table of servers is not enough: shards go to endpoints that prove to be of the fleet."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from tenantry.placement import SHARDS
from tenantry.registry import ServerRegistry, ServerReport, open_engine
from tenantry.trust import proofs
from tenantry.trust.challenges import ask
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_operator.fleet.view import Fleet
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings
from tenantry_server.peers import challenge
from tests.support.databases.migrated import migrate
from tests.support.network.ports import free_ports
from tests.support.tenants.operator_side import leading
from tests.support.waiting import until

SECRET = "of the fleet"  # noqa: S105 - of the test's own


@contextmanager
def serving(app: web.Application, port: int) -> Iterator[None]:
    """An HTTP server in a thread of its own."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", port).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


class Keeping:
    """An operator's view of a fleet, and rows in the table of servers."""

    def __init__(self, folder: Path, secret: str | None) -> None:
        self._engine = open_engine(f"sqlite:///{folder}/registry.db")
        migrate(self._engine)
        self.registry = leading(self._engine)
        settings = OperatorSettings(fleet_secret=None if secret is None else SecretStr(secret))
        weights = [100] * SHARDS
        self._fleet = Fleet(self.registry, settings, OperatorMetrics(), lambda: weights, lambda _: False)
        self._now_s = 1000.0

    def row(self, name: str, endpoint: str) -> None:
        server = ServerRegistry(self._engine, name, endpoint=endpoint, capacity_bytes=1 << 30)
        server.renew(lease_s=600.0, acked_revision=0, report=ServerReport())

    def held(self, seconds: float = 1.0) -> Counter[str]:
        """How many shards each has, once this much time has gone by."""
        self._now_s += seconds
        self._fleet.observe(self._now_s)
        return Counter(holding.server_id for holding in self.registry.shards().values())

    def close(self) -> None:
        self._fleet.close()
        self._engine.dispose()


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    made = Keeping(tmp_path, SECRET)
    yield made
    made.close()


@pytest.fixture
def real(keeping: Keeping) -> Iterator[str]:
    """A server of the fleet, which has every shard; its endpoint."""
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    app = web.Application()
    app.add_routes(challenge.routes(FleetSecrets(SECRET), "real", endpoint))
    with serving(app, port):
        keeping.row("real", endpoint)
        until(lambda: keeping.held() == {"real": SHARDS}, "the real server has all shards")
        yield endpoint


def stranger(real: str | None) -> web.Application:
    """Answers every challenge: with what a real server says of it, or with a guess."""

    async def answer(request: web.Request) -> web.Response:
        if real is None:
            return web.Response(text=proofs.proof("a guess", "hostile", "x", "y"))
        return web.Response(text=await asyncio.to_thread(ask, real, request.path))

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", answer)])
    return app


@pytest.mark.parametrize("relays", [False, True], ids=["guesses", "asks a real server"])
def test_a_hostile_row_gets_no_shard(keeping: Keeping, real: str, relays: bool) -> None:
    (port,) = free_ports(1)
    asked = threading.Event()

    app = stranger(real if relays else None)

    async def saw(_request: web.Request, _response: web.StreamResponse) -> None:
        asked.set()

    app.on_response_prepare.append(saw)
    with serving(app, port):
        keeping.row("hostile", f"http://127.0.0.1:{port}")
        until(lambda: keeping.held() and asked.is_set(), "it is asked")
        for _ in range(20):  # far longer than any debounce
            assert keeping.held(60.0) == {"real": SHARDS}


def test_a_row_that_takes_a_real_servers_name_loses_its_shards(keeping: Keeping, real: str) -> None:
    assert keeping.held() == {"real": SHARDS}
    keeping.row("real", "http://127.0.0.1:9")
    keeping.held(60.0)
    keeping.row("real", real)
    until(lambda: keeping.held() == {"real": SHARDS}, "the real one is believed again")


def test_another_server_of_the_fleet_gets_its_share(keeping: Keeping, real: str) -> None:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    app = web.Application()
    app.add_routes(challenge.routes(FleetSecrets(SECRET), "second", endpoint))
    with serving(app, port):
        keeping.row("second", endpoint)

        def shared() -> bool:
            return keeping.held(20.0)["second"] > SHARDS // 3

        until(shared, "the second server has its share")


def test_without_a_secret_every_row_is_believed(tmp_path: Path) -> None:
    """As on a laptop: who can write to the registry is trusted there."""
    keeping = Keeping(tmp_path, None)
    keeping.row("any", "http://127.0.0.1:9")
    until(lambda: keeping.held(20.0) == {"any": SHARDS}, "it has all shards")
    keeping.close()
