"""Servers that are killed, paused, cut off, stopped and added under load.

Every answer is checked: whose it is, and that it is not older than what was Ready when it was asked for.
Each test prints its figures.
"""

import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import waiting
from tests.support.databases import tcp_postgres
from tests.support.databases.tcp_postgres import TcpPostgres
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import Home, install_crd
from tests.support.load.figures import Figures
from tests.support.load.steady import Load
from tests.support.load.town import PER_S, Town, report
from tests.support.network import firewall
from tests.support.network.firewall import Firewall
from tests.support.processes.fleet import Fleet
from tests.support.processes.up import Reply, ask
from tests.support.stores import s3_door
from tests.support.stores.s3 import S3Server
from tests.support.tenants import lines
from tests.support.tenants.census import Census

TENANTS = 300
VICTIM = "server-0"
OTHERS = ("server-1", "server-2")
AFTER = int(2 * PER_S)  # requests: two seconds
COLD = range(TENANTS, TENANTS + 6)  # nobody has asked for these


@pytest.fixture(scope="module")
def database() -> Iterator[TcpPostgres]:
    with tcp_postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def module_town(
    database: TcpPostgres, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("faults")
    with s3_door.running(s3.url) as doors:
        town = Town(folder, database.database(), s3, doors, count=TENANTS + len(COLD))
        try:
            yield town
        finally:
            town.close()


@pytest.fixture
def town(module_town: Town) -> Town:
    """Three servers that hold every shard, an operator, and 300 tenants."""
    module_town.calm()
    return module_town


@pytest.fixture(scope="module")
def wall() -> Iterator[Firewall]:
    """Skips where packets can't be dropped."""
    try:
        with firewall.running() as running:
            yield running
    except firewall.FirewallMissing as missing:
        pytest.skip(str(missing))


def _all_right(figures: Figures) -> None:
    """No answer was another tenant's or too old."""
    whole = figures.whole
    assert (whole.wrong, whole.stale, whole.aged_stale) == (0, 0, 0), whole.examples


def _nothing_failed(figures: Figures) -> None:
    _all_right(figures)
    assert figures.whole.failures == 0, (figures.whole.failed, figures.whole.examples)


def _asked_at(url: str, tenants: Iterable[int]) -> list[Reply]:
    """A few at a time."""
    requests = [
        urllib.request.Request(f"{url}/predict/{lines.user_id(n)}", data=lines.BODY) for n in tenants
    ]
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(ask, requests))


def _told(reply: Reply) -> str:
    return "200" if reply.status == 200 else f"{reply.status} {reply.reason}"


# A server goes


def test_a_killed_server_takes_only_what_it_was_working_on_with_it(town: Town) -> None:
    """Its connections break; no other request fails, then or while its shards find new holders."""
    with town.load(tenants=TENANTS) as load:
        load.phase("killed")
        town.fleet.kill(VICTIM)
        load.phase("gone")  # whatever counts here was sent after the process had ended
        load.until_answered(AFTER)
        town.fleet.until_settled(*OTHERS)
        load.until_answered(AFTER)
    report("kill -9 of one of three", load.stop())
    _all_right(load.stop())
    assert set(load.stop()["killed"].failed) <= {f"lost by {VICTIM}"}
    assert load.stop()["gone"].failures == 0, load.stop()["gone"].failed


def test_a_paused_server_holds_up_nobody_and_answers_nothing_old_when_it_wakes(town: Town) -> None:
    with town.load(tenants=TENANTS) as load:
        load.phase("paused")
        town.fleet.pause(VICTIM)
        load.until_answered(AFTER)
        town.fleet.until_settled(*OTHERS)
        for n in range(3):
            town.update(n, load)
        load.phase("awake")
        town.fleet.wake(VICTIM)
        waiting.until(lambda: load.figures()["awake"].by[VICTIM], "it answers again")
        load.until_answered(AFTER)
    report("SIGSTOP of one of three, then SIGCONT", load.stop())
    _nothing_failed(load.stop())


def test_a_server_that_is_told_to_stop_under_load_fails_no_request(town: Town) -> None:
    with town.load(tenants=TENANTS) as load:
        load.phase("stopping")
        town.fleet.terminate(VICTIM)
        town.fleet.until_gone(VICTIM)
        load.phase("after")
        load.until_answered(AFTER)
        town.fleet.until_settled(*OTHERS)
    report("SIGTERM of one of three", load.stop())
    _nothing_failed(load.stop())


def test_a_server_that_joins_under_load_fails_no_request(town: Town) -> None:
    with town.load(tenants=TENANTS) as load:
        load.phase("joining")
        name = town.enroll()
        load.add(name, town.fleet.urls[name])
        town.fleet.start(name)
        town.fleet.until_settled()
        load.phase("after")
        load.until_answered(AFTER)
    town.dismiss(name)
    report("a fourth server joins", load.stop())
    _nothing_failed(load.stop())
    assert load.stop()["after"].by[name] > 0


# A server is cut off


def test_a_server_cut_off_from_its_peers_answers_everything_itself(town: Town, wall: Firewall) -> None:
    with town.load(tenants=TENANTS) as load:
        load.phase("cut off")
        with wall.cut(*town.links_to_peers(VICTIM)):
            load.until_answered(2 * AFTER)
        load.phase("after")
        load.until_answered(AFTER)
    report("one of three cut off from its peers", load.stop())
    _nothing_failed(load.stop())


def test_a_server_cut_off_from_sql_answers_nothing_old(
    town: Town, wall: Firewall, database: TcpPostgres
) -> None:
    """Its lease ends, its shards go to others, and it asks those: they know what is Ready."""
    with town.load(tenants=TENANTS) as load:
        load.phase("cut off")
        with wall.cut((town.fleet.members[VICTIM].gid, [database.port])):
            load.until_answered(AFTER)
            waiting.until(lambda: town.fleet.live() == set(OTHERS), "its lease is over")
            for n in range(3):
                town.update(n, load)
            load.until_answered(AFTER)
        load.phase("after")
        town.fleet.until_settled()
        load.until_answered(AFTER)
    report("one of three cut off from SQL", load.stop())
    _nothing_failed(load.stop())


def test_a_server_cut_off_from_s3_goes_on_with_what_it_has(town: Town, wall: Firewall) -> None:
    """What it does not have, others load."""
    _asked_at(town.fleet.urls[VICTIM], range(TENANTS))  # it has those that it holds
    with town.load(tenants=TENANTS) as load:
        load.phase("cut off")
        with wall.cut((town.fleet.members[VICTIM].gid, [town.door_port(VICTIM)])):
            first = _asked_at(town.fleet.urls[VICTIM], COLD)
            # A machine that stands still makes peers look dead for a moment; a client tries again.
            waiting.until(
                lambda: all(each.status == 200 for each in _asked_at(town.fleet.urls[VICTIM], COLD)),
                "others load for it",
            )
            load.until_answered(AFTER)
        load.phase("after")
        load.until_answered(AFTER)
    report("one of three cut off from S3", load.stop())
    print(f"    cold tenants, asked for at that server: {Counter(map(_told, first))} at first")
    _nothing_failed(load.stop())
    assert {reply.status for reply in first} <= {200, 503}, [reply.body for reply in first]


def test_a_server_cut_off_from_the_api_server_learns_of_every_version_all_the_same(
    plane: ControlPlane, wall: Firewall, database: TcpPostgres, tmp_path: Path
) -> None:
    """Its watch is a wake-up and nothing more."""
    install_crd(plane)
    registry_url = database.database()
    home = Home(plane, tmp_path, registry_url)
    census = Census(f"file://{tmp_path}/models", tmp_path / "unused", count=20)
    census.write()
    env = {
        "KUBECONFIG": str(plane.kubeconfig),
        "TENANTRY_KUBERNETES_WATCH": "true",
        "TENANTRY_FILE_ROOTS": str(tmp_path),
    }
    with Fleet(tmp_path / "fleet", registry_url, ["--kubernetes"], env=env, servers=2) as fleet:
        fleet.start()
        for n in range(census.count):
            home.apply(census.declared(n))
        fleet.until_settled()
        for n in range(census.count):
            home.until(lines.user_id(n), "Ready")
        with Load(fleet.urls, range(census.count)) as load:
            load.phase("cut off")
            with wall.cut((fleet.members[VICTIM].gid, [int(urlsplit(plane.url).port or 0)])):
                for n in range(5):
                    census.write([n], version=2)
                    home.apply(census.declared(n, 2))
                    home.until(lines.user_id(n), "Ready")
                    load.ready(n, 2)
                load.until_answered(AFTER)
        for n in range(census.count):
            home.delete(lines.user_id(n))
    report("one of two cut off from the API server", load.stop())
    _nothing_failed(load.stop())
