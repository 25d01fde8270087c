"""JWTs at the page: a real server judges real tokens."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import BaseTestServer, TestServer

from tenantry.registry import ServerRegistry, ServerReport
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_operator.settings import Ui
from tenantry_operator.ui.messages import Response
from tenantry_operator.ui.tokens import TokenJudge
from tenantry_server.access.gate import Gate
from tenantry_server.access.tokens import TokenRules, Tokens
from tenantry_server.peers import challenge
from tests.support.network.ports import free_ports
from tests.support.operator.page_rig import SECRET, PageRig, basic, opened
from tests.support.tenants import issuer
from tests.support.tenants.callers import gate_of
from tests.support.tenants.issuer import Issuer
from tests.support.tenants.registered import Tenants

TRUSTED = Issuer()
RULES = TokenRules(issuer.NAME, issuer.AUDIENCE, "", admin=re.compile("root"))


class Fleet:
    """A page that asks for keys, and a server of its own fleet that takes tokens."""

    def __init__(self, rig: PageRig, server: BaseTestServer) -> None:
        self.rig = rig
        self.server = server

    async def get(self, token: str, *, as_password: bool = False, path: str = "/ui") -> Response:
        headers = basic(token) if as_password else {"Authorization": f"Bearer {token}"}
        return await asyncio.to_thread(self.rig.get, path, headers)


async def _fleet(folder: Path, gate: Gate) -> AsyncIterator[Fleet]:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    (folder / "server").mkdir()
    app = Tenants(folder / "server").app(gate=gate)
    app.add_routes(challenge.routes(FleetSecrets(SECRET), "server-1", endpoint))
    with opened(folder, mode=Ui.KEYS, secret=SECRET) as rig:
        real = ServerRegistry(rig.engine, "server-1", endpoint=endpoint, capacity_bytes=1)
        real.renew(lease_s=600.0, acked_revision=0, report=ServerReport())
        async with TestServer(app, port=port) as server:
            yield Fleet(rig, server)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async for each in _fleet(tmp_path, gate_of({}, tokens=Tokens(RULES, TRUSTED.read))):
        yield each


@pytest.fixture
async def careless(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Its server asks nobody who they are, and lists tenants to everyone."""
    async for each in _fleet(tmp_path, Gate(open_lists=True)):
        yield each


async def test_a_token_that_servers_take_for_an_admins_opens_the_page(fleet: Fleet) -> None:
    token = TRUSTED.token("root")
    assert (await fleet.get(token)).status == 200
    assert (await fleet.get(token, as_password=True, path="/ui/servers")).status == 200


async def test_other_tokens_do_not(fleet: Fleet) -> None:
    for token in (
        TRUSTED.token("ann"),
        TRUSTED.token("root", exp=time.time() - 1),
        TRUSTED.token("root", aud="another"),
        Issuer().token("root"),
        "a.b.c",
    ):
        assert (await fleet.get(token)).status == 401, token


async def test_a_server_that_asks_nobody_vouches_for_nobody(careless: Fleet) -> None:
    assert (await careless.get(TRUSTED.token("root"))).status == 401


async def test_no_token_is_shown_to_a_server_that_proves_nothing(fleet: Fleet) -> None:
    assert (await fleet.get(TRUSTED.token("root"))).status == 200
    assert fleet.rig.server.asked == [], "server-0 proves nothing"


async def test_what_a_server_said_holds_for_half_a_minute_and_not_beyond_the_token(fleet: Fleet) -> None:
    now_s = time.time()
    judge = TokenJudge(fleet.rig.sight.registry.servers, fleet.rig.sight.asker, lambda: now_s)
    long, short = TRUSTED.token("root"), TRUSTED.token("root", exp=now_s + 20)
    assert await asyncio.to_thread(judge, long)
    assert await asyncio.to_thread(judge, short)
    await fleet.server.close()
    now_s += 19.0
    assert judge(long)
    assert judge(short)
    now_s += 2.0
    assert judge(long)
    assert not judge(short)
    now_s += 10.0
    assert not await asyncio.to_thread(judge, long), "no server is there to ask"
