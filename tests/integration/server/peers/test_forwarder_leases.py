"""How long a request may take on its way, and who answers it while the registry is silent."""

import asyncio

import pytest

from tenantry_server.assignments.routing_table import OnRegistryLoss
from tenantry_server.toys import SlowModel, SumModel
from tests.support.network.beside_scripted_peer import PLAIN, USER, answers, ask, serving
from tests.support.network.scripted_peer import Exchange
from tests.support.processes import cluster
from tests.support.processes.cluster import user_for
from tests.support.waiting import PATIENCE_S

# Deadlines


@pytest.mark.parametrize("way", PLAIN)
async def test_the_time_that_is_left_is_passed_on(way: str) -> None:
    async with serving(answers, predict_timeout_s=60.0) as (servers, peer):
        await ask(servers, way, Tenantry_Timeout_Ms="20000")
        await ask(servers, way, Tenantry_Timeout_Ms="700000")
    sent = [int(exchange.header("Tenantry-Timeout-Ms") or 0) for exchange in peer.seen]
    assert 0 < sent[0] <= 20_000 < sent[1] <= 60_000


@pytest.mark.parametrize("value", ["", "-1", "1e3", "abc", "٣", "9" * 5_000, "0x10", " "])
async def test_a_malformed_time_limit_is_ignored(value: str) -> None:
    async with serving(answers, predict_timeout_s=60.0) as (servers, peer):
        assert (await ask(servers, Tenantry_Timeout_Ms=value)).status == 200
        assert (await ask(servers, Tenantry_Timeout_Ms=value, Tenantry_Hop="x")).status == 200
    assert int(peer.seen[0].header("Tenantry-Timeout-Ms") or 0) > 30_000


async def test_a_server_keeps_the_time_limit_of_a_request() -> None:
    models = {USER: lambda: SlowModel(30.0)}
    async with serving(answers, models=models) as (servers, _):
        await servers["a"].plane.models.load(USER)  # which may take longer than the request
        reply = await ask(servers, Tenantry_Hop="test", Tenantry_Timeout_Ms="100")
        assert (reply.status, reply.reason) == (504, "PredictionTimeout")
        assert b"no answer within 0.1 s" in reply.body


@pytest.mark.parametrize("way", PLAIN)
async def test_a_peer_that_exceeds_the_time_limit_is_not_waited_for(way: str) -> None:
    """It lives and takes its time; nobody else has any left."""

    async def waits(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.left()

    async with serving(waits) as (servers, peer), asyncio.timeout(PATIENCE_S):
        while not peer.seen:  # where the machine stood still, the time was over before it was asked
            reply = await ask(servers, way, Tenantry_Timeout_Ms="200")
            assert (reply.status, reply.server, reply.reason) == (504, "a", "PredictionTimeout")
        assert servers["c"].models.loads == []
        assert len(peer.seen) == 1


# The registry is lost


async def test_a_peer_whose_lease_is_over_is_not_asked_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It might answer with an older model than this server knows of."""
    monkeypatch.setattr("tenantry_server.peers.health._LEASELESS_S", PATIENCE_S)

    async def has_none(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.answer(b'{"error": {}}', 503, Tenantry_Reason="LeaseLost")

    async with serving(has_none) as (servers, peer):
        for _ in range(3):
            assert (await ask(servers)).server == "c"
        assert len(peer.seen) == 1, "it is not asked again for a while"


@pytest.mark.parametrize("way", PLAIN)
async def test_a_server_without_a_lease_refuses_requests_that_demand_fresh_knowledge(way: str) -> None:
    async with serving(answers, names="a") as (servers, _):
        servers["a"].lease(held=False)
        reply = await ask(servers, way, Tenantry_Fresh="required", Tenantry_Hop="x")
        assert (reply.status, reply.reason, reply.server) == (503, "LeaseLost", "a")
        assert servers["a"].registry.asked == 0


@pytest.mark.parametrize("way", PLAIN)
@pytest.mark.parametrize("on_loss", OnRegistryLoss)
async def test_without_a_lease_a_peer_that_has_one_answers(way: str, on_loss: OnRegistryLoss) -> None:
    """Whichever server holds the model: fresh comes before near."""
    async with cluster.running({USER: SumModel}, {USER: "a"}, on_loss=on_loss) as three:
        for name in "ab":
            three[name].lease(held=False)
        alone = await ask(three, way, Tenantry_Hop="test")
        assert alone.status == (200 if on_loss is OnRegistryLoss.SERVE else 503)
        for _ in range(3):
            reply = await ask(three, way)
            assert (reply.status, reply.server) == (200, "c")
            assert "Tenantry-Registry-Age" not in reply.headers
        assert [node.registry.asked for node in three.nodes.values()] == [0, 0, 0]


@pytest.mark.parametrize("way", PLAIN)
async def test_without_any_lease_the_holder_answers_and_states_the_age(way: str) -> None:
    user = user_for("b", "c", "a")
    way = way.replace(USER, user)
    async with cluster.running({user: SumModel}, {user: "b"}) as three:
        for node in three.nodes.values():
            node.lease(held=False)
        for name in "aba":
            reply = await ask(three, way, at=name)
            assert (reply.status, reply.server, reply.body) == (200, "b", b'{"predictions":[3.0]}')
            assert int(reply.headers["Tenantry-Registry-Age"]) >= 0
        assert [node.registry.asked for node in three.nodes.values()] == [0, 0, 0]
        reply = await ask(three, way, Tenantry_Fresh="required")
        assert (reply.status, reply.reason) == (503, "LeaseLost")


async def test_without_any_lease_every_server_refuses_if_so_configured() -> None:
    user = user_for("b", "c", "a")
    async with cluster.running({user: SumModel}, {user: "b"}, on_loss=OnRegistryLoss.REFUSE) as three:
        for node in three.nodes.values():
            node.lease(held=False)
        for name in "abc":
            reply = await ask(three, f"/predict/{user}", at=name)
            assert (reply.status, reply.reason) == (503, "RegistryUnavailable")
        assert [node.registry.asked for node in three.nodes.values()] == [0, 0, 0]


async def test_asking_every_peer_takes_at_most_half_of_the_time() -> None:
    """A server that is cut off from all others still answers, or refuses, within it."""

    async def says_nothing(exchange: Exchange) -> None:
        await exchange.left()

    async with serving(says_nothing, names="a", predict_timeout_s=16.0) as (servers, peer):
        peer.answers_probes = False
        servers.introduce({f"peer-{number}": peer.url for number in range(50)})  # half a second each
        servers["a"].lease(held=False)
        reply = await ask(servers, Tenantry_Timeout_Ms="16000")
        assert (reply.status, reply.server) == (200, "a")
        assert "Tenantry-Registry-Age" in reply.headers
