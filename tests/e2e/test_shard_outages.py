"""PostgreSQL or S3 away for longer than any lease, and everything killed and started at once.

Both outages last through the same time, each on a fleet of its own. The figures are printed. `make
soak-outages` is the long form: a minute, and 20,000 tenants.
"""

import json
import os
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.databases import tcp_postgres
from tests.support.databases.tcp_postgres import TcpPostgres
from tests.support.load.figures import Figures
from tests.support.load.town import PER_S as LOAD_PER_S
from tests.support.load.town import Town, report
from tests.support.processes.fleet import OPERATOR
from tests.support.processes.up import Reply, ask
from tests.support.stores import s3_door
from tests.support.stores.s3 import S3Server
from tests.support.tenants import lines
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1200)

OUTAGE_S = int(os.environ.get("TENANTRY_OUTAGE_S", "18"))
PER_S = LOAD_PER_S / 5  # to each of the two fleets
ASKED = 300  # tenants of the load
COLD = range(ASKED, ASKED + 6)  # tenants that nobody has asked for
# Room for a few in memory, so that most answers come from the disk.
SMALL = {"TENANTRY_CACHE_BYTES": "60000", "TENANTRY_HOT_USERS": "0"}


@pytest.fixture(scope="module")
def database() -> Iterator[TcpPostgres]:
    with tcp_postgres.running() as server:
        yield server


@dataclass
class Outage:
    """What one of the two fleets went through.

    Attributes:
        figures: phases "away" and "after".
        cold: answers for tenants that nobody had asked for, during the outage; and afterwards.
        fetched: GETs at S3 during the outage, those for `cold` not counted.
    """

    figures: Figures
    cold: list[Reply]
    cold_after: list[Reply]
    fetched: int


@pytest.fixture(scope="module")
def outages(
    database: TcpPostgres, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outage]:
    """The outages of both; their processes have ended by then."""
    folder = tmp_path_factory.mktemp("outages")
    count = ASKED + len(COLD)
    with s3_door.running(s3.url) as one, s3_door.running(s3.url) as two, tcp_postgres.running() as kept:
        urls = {"sql": database.database(), "s3": kept.database()}
        towns = {
            name: Town(folder / name, url, s3, doors, count=count, servers=2, env=SMALL)
            for (name, url), doors in zip(urls.items(), (one, two), strict=True)
        }
        try:
            return _away(towns, database, two)
        finally:
            for town in towns.values():
                town.close()


def _away(towns: dict[str, Town], database: TcpPostgres, doors: s3_door.Doors) -> dict[str, Outage]:
    for town in towns.values():
        town.calm()
        _ask_for_all(town)
    sql, s3 = towns["sql"], towns["s3"]
    with sql.load(PER_S, ASKED) as of_sql, s3.load(PER_S, ASKED) as of_s3:
        loads = (of_sql, of_s3)
        for load in loads:
            load.phase("away")
        before = {name: _fetched(town) for name, town in towns.items()}
        with database.outage(), doors.shut():
            of_sql.until_answered(int((OUTAGE_S - 10) * PER_S))  # and so has the other
            cold = {name: _ask_for_cold(town) for name, town in towns.items()}
            for load in loads:
                load.until_answered(int(5 * PER_S))
            fetched = {name: _fetched(town) - before[name] for name, town in towns.items()}
        for town, load in zip((sql, s3), loads, strict=True):
            load.phase("back")
            town.fleet.until_settled()
            town.update(0, load)
            load.phase("after")
            load.until_answered(int(3 * PER_S))
        after = {name: _ask_for_cold(town) for name, town in towns.items()}
    return {
        "sql": Outage(of_sql.stop(), cold["sql"], after["sql"], fetched["sql"]),
        "s3": Outage(of_s3.stop(), cold["s3"], after["s3"], fetched["s3"]),
    }


def _ask_for_all(town: Town) -> None:
    """So that every server has the artifact of every tenant of the load on its disk."""
    for url in town.fleet.urls.values():
        for n in range(ASKED):
            assert _asked(url, n).status == 200


def _ask_for_cold(town: Town) -> list[Reply]:
    """Each server, half of them: one server's loading is not the other's."""
    urls = list(town.fleet.urls.values())
    return [_asked(urls[n % len(urls)], n) for n in COLD]


def _asked(url: str, n: int) -> Reply:
    request = urllib.request.Request(f"{url}/predict/{lines.user_id(n)}", data=lines.BODY)
    return ask(request)


def _fetched(town: Town) -> int:
    """GETs at S3 for tenants of the load."""
    cold = {f"/{town.census.uri(n).removeprefix('s3://')}" for n in COLD}
    return sum(
        count for door in town.doors.values() for path, count in door.gets.items() if path not in cold
    )


def _all_right(figures: Figures) -> None:
    whole = figures.whole
    assert (whole.wrong, whole.stale, whole.aged_stale) == (0, 0, 0), whole.examples
    assert whole.failures == 0, (whole.failed, whole.examples)


def test_warm_and_disk_cached_tenants_are_answered_while_postgresql_is_away(
    outages: dict[str, Outage],
) -> None:
    """Once the leases are over, each answer says how old the knowledge is; once it is back, none does."""
    outage = outages["sql"]
    report(f"PostgreSQL down for {OUTAGE_S} s", outage.figures)
    _all_right(outage.figures)
    assert outage.figures["away"].aged > (OUTAGE_S - 20) * PER_S
    assert outage.figures["after"].aged == 0
    print(f"    {outage.fetched} artifacts fetched meanwhile: every server answers, its own tenant or not")
    assert outage.fetched <= ASKED, "the disk has what was fetched once"


def test_a_cold_tenant_is_loaded_while_postgresql_is_away(outages: dict[str, Outage]) -> None:
    """Servers know which model it is; the header says how old that knowledge is."""
    for n, reply in zip(COLD, outages["sql"].cold, strict=True):
        assert reply.status == 200, reply.body
        assert lines.read(reply.body["predictions"]) == (n, 1)
        assert int(reply.headers["Tenantry-Registry-Age"]) > 0


def test_warm_and_disk_cached_tenants_are_answered_while_s3_is_away(
    outages: dict[str, Outage],
) -> None:
    outage = outages["s3"]
    report(f"S3 down for {OUTAGE_S} s", outage.figures)
    _all_right(outage.figures)
    assert outage.figures.whole.aged == 0


def test_a_cold_tenant_gets_503_with_a_reason_while_s3_is_away_and_an_answer_afterwards(
    outages: dict[str, Outage],
) -> None:
    for reply in outages["s3"].cold:
        assert (reply.status, reply.reason) == (503, "ArtifactUnavailable"), json.dumps(reply.body)
        assert int(reply.headers["Retry-After"]) >= 1
    for n, reply in zip(COLD, outages["s3"].cold_after, strict=True):
        assert reply.status == 200, reply.body
        assert lines.read(reply.body["predictions"]) == (n, 1)


MANY = int(os.environ.get("TENANTRY_OUTAGE_TENANTS", "1000"))
LOADS_AT_ONCE = 4  # threads of a server that load
COLD_PER_S = PER_S  # half of it for tenants that are not in memory


def test_everything_killed_and_started_at_once_is_no_stampede_on_s3(
    database: TcpPostgres, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A thousand tenants or more, empty disks: a server fetches a few models at a time, each once."""
    folder = tmp_path_factory.mktemp("stampede")
    with s3_door.running(s3.url) as doors:
        env = {"TENANTRY_HOT_EVERY_S": "1", "TENANTRY_LEASE_S": "10"}
        town = Town(folder, database.database(), s3, doors, count=MANY, alone=1, env=env)
        try:
            _stampede(town)
        finally:
            town.close()


def _stampede(town: Town) -> None:
    town.calm()
    servers = list(town.fleet.members)
    with town.load(COLD_PER_S) as load:
        load.until_answered(int(5 * COLD_PER_S))
        load.phase("down")
        town.fleet.kill(OPERATOR, *servers)
        for name in servers:
            shutil.rmtree(town.fleet.disk(name))  # they come up on other machines
        doors = town.doors.values()
        for door in doors:
            door.forget()
        began_s = time.monotonic()
        town.fleet.start()
        until(lambda: any(map(town.fleet.ready, servers)), "the first is ready")
        first_s = time.monotonic() - began_s
        load.phase("back")
        town.fleet.until_settled()
        settled_s = time.monotonic() - began_s
        load.phase("after")
        load.until_answered(int(5 * COLD_PER_S))
    figures = load.stop()
    report(f"everything killed and started with {MANY:,} tenants", figures)
    fetched = Counter[str]()
    for door in doors:
        fetched.update(door.gets.keys())
    asked = len(figures.whole.tenants)
    print(
        f"    {asked} tenants asked for, {len(fetched)} models fetched, {fetched.total()} GETs, "
        f"at most {max(door.at_once for door in doors)} at once by one server; "
        f"the first server ready after {first_s:.1f} s, all shards held after {settled_s:.1f} s"
    )
    assert max(door.at_once_of_one for door in doors) == 1, "single flight"
    # A server that lets go of what another holds by now may want it back.
    assert fetched.total() <= 1.1 * len(servers) * len(fetched)
    assert len(fetched) <= asked
    assert all(door.at_once <= LOADS_AT_ONCE for door in doors)
    whole = figures.whole
    assert (whole.wrong, whole.stale, whole.aged_stale) == (0, 0, 0), whole.examples
    assert figures["after"].failures == 0, (figures["after"].failed, figures["after"].examples)
