"""The other servers by the registry, and what the choice sees of them."""

from tenantry.placement import rendezvous, shard_of
from tenantry.registry import Assignment, Changes, Holding, Server, ServerReport, open_engine
from tenantry_server.assignments.contact import Contact
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.predicting.answer import Pace
from tenantry_server.predicting.dataplane import DataPlane
from tests.support.processes.cluster import Models, Silent, user_for

USER = user_for("b", "c", "me", "d")
OTHERS = ("b", "c", "d")


def servers(dead: str = "", **reports: ServerReport) -> list[Server]:
    """What the registry says; `dead` has no lease."""
    return [
        Server(
            name, f"http://{name}", 1, -1.0 if name == dead else 9.0, 1, reports.get(name, ServerReport())
        )
        for name in ("me", *OTHERS)
    ]


def known(dead: str = "", **reports: ServerReport) -> Directory:
    directory = Directory("me")
    directory.update(servers(dead, **reports))
    return directory


def test_every_server_has_the_same_order_of_those_that_stay() -> None:
    shard = shard_of(USER)
    assert known().order(shard) == rendezvous(shard, ["me", *OTHERS]) == ["b", "c", "me", "d"]
    assert known(c=ServerReport(leaving=True)).order(shard) == ["b", "me", "d"]
    assert known(dead="b").order(shard) == ["c", "me", "d"]


def test_only_a_change_of_those_that_stay_is_news() -> None:
    directory = known()
    assert not directory.update(servers(b=ServerReport(load=0.5)))
    assert directory.update(servers(b=ServerReport(leaving=True)))
    assert not directory.update(servers(b=ServerReport(leaving=True)))
    assert directory.update(servers())


def test_a_server_without_a_lease_by_the_registry_is_not_asked() -> None:
    directory = known(dead="b")
    assert [name for name, peer in directory.peers.items() if peer.usable] == ["c", "d"]
    assert (directory.live, directory.down) == (2, 0)


def test_a_server_that_leaves_is_asked_for_what_it_still_holds() -> None:
    assert known(b=ServerReport(leaving=True)).peers["b"].usable


def test_requests_that_are_unanswered_count_before_the_next_report() -> None:
    directory = known(d=ServerReport(load=0.3))
    directory.peers["b"].in_flight = 4
    assert directory.peers["b"].busyness > directory.peers["d"].busyness


async def test_a_server_whose_address_is_unusable_hurts_no_other() -> None:
    """Its operator's mistake is read by every server, once a second."""
    directory = Directory("me")
    names = {
        "b": "http://host:port",
        "c": "http://[::1",
        "d": f"http://{'x' * 70}.example:80",
        "e": "http://e",
    }
    directory.update([Server(name, url, 1, 9.0, 1, ServerReport()) for name, url in names.items()])
    assert list(directory.peers) == ["d", "e"]
    assert not await directory.peers["d"]._connections.probe(0.5)
    directory.close()


def test_a_server_at_a_new_address_is_another_peer() -> None:
    directory = known()
    before = directory.peers["b"]
    directory.update([Server("b", "http://elsewhere", 1, 9.0, 1, ServerReport())])
    assert directory.peers["b"] is not before
    assert not before.usable, "it was closed"
    assert list(directory.peers) == ["b"], "the registry forgot the others"


def test_the_view_is_the_table_the_directory_and_the_model_cache_in_one() -> None:
    registry = Silent(open_engine("sqlite://"), "me", endpoint="", capacity_bytes=1)
    table = RoutingTable(registry, clock_s=lambda: 0.0)
    row = Assignment(USER, "uid", 1, "model", replicas=2)
    table.apply(Changes(1, complete=True, assignments=[row], shards={shard_of(USER): Holding("d")}))
    cache = CachedModelRepository(Models({}), bounded_cache(1 << 20))
    view = FleetView(table, known(me=ServerReport(load=0.7)), DataPlane(table, cache))
    assert (view.me, view.own_load, set(view.peers)) == ("me", 0.7, set(OTHERS))
    assert view.holding(shard_of(USER)) == Holding("d")
    assert view.holders(shard_of(USER), "d", view.replicas_of(USER)) == ["d", "b"]
    assert (view.contact, view.lease_held) == (Contact.LAPSED, False)
    table.contact.renewed(until_s=1.0)
    assert (view.contact, view.pace(USER), view.pace("stranger")) == (Contact.FRESH, Pace.UNKNOWN, None)
    assert not view.keeps(USER)
