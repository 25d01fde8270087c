"""What a request costs a fleet of one, two and four: small tenants, asked for by Zipf at any server."""

import json
import math
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np
from tests.support.databases import tcp_postgres
from tests.support.processes.fleet import Fleet
from tests.support.tenants import lines
from tests.support.tenants.census import Census

from benchmarks.operator.report import Row
from benchmarks.serving import wrk
from benchmarks.serving.endpoint import Ask, Endpoint
from tenantry.placement import shard_of

_FLEETS = (1, 2, 4)
_ASKS = 40_000  # drawn once, and sent over and over by each server's clients
_EXPONENT = 1.0
_CONNECTIONS = 16  # to each server
_BEGINS_S = 5.0  # the first seconds, in which models are loaded and copied
_WINDOW_S = 2.0  # the load is judged by, until it has settled
_SETTLED = 0.002  # share of requests that are passed on, or wait for a load
_SETTLES_S = 60.0  # at most
_SECONDS = 4.0
_ROUNDS = 3
_CHECKED = 200
_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class _Cost:
    """One fleet under load.

    Attributes:
        cpu_us: of all its servers, for one request.
        per_s: answers.
        passed_on: share of requests that another server answered.
        loads: models that were loaded, to the number of requests.
    """

    cpu_us: float
    per_s: float
    passed_on: float
    loads: float

    @property
    def is_settled(self) -> bool:
        """Whether the load goes on as it would for hours."""
        return max(self.passed_on, self.loads) <= _SETTLED


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a fleet costs.

    Attributes:
        beginning: in its first seconds, when models are loaded and copied.
        settled: afterwards.
        settles_s: after how long it was settled; infinite: never.
        in_turns_us: CPU where one server at a time is asked, as if each had the machine for itself.
        at_holder_us: CPU where each server is asked for what it holds only: what as many processes cost on
            this machine, which share its cores and caches.
    """

    beginning: _Cost
    settled: _Cost
    settles_s: float
    in_turns_us: float
    at_holder_us: float


def locality(folder: Path, count: int) -> list[Row]:
    """Requests per core, by the CPU that all servers take for one."""
    census = Census(f"file://{folder}/models", folder / "manifests", count)
    census.write()
    found: dict[int, _Figures] = {}
    with tcp_postgres.running() as database:
        for servers in _FLEETS:
            url = database.database()
            census.register(url)
            with Fleet(folder / f"fleet-{servers}", url, [str(census.manifests)], servers=servers) as fleet:
                fleet.start()
                fleet.until_settled()
                found[servers] = _figures(fleet, count)
    return [row for servers in _FLEETS for row in _rows(servers, count, found)]


def _rows(servers: int, count: int, found: Mapping[int, _Figures]) -> list[Row]:
    one, fleet = found[1], found[servers]
    settled, beginning = fleet.settled, fleet.beginning
    rows = [
        Row(
            f"{servers} servers, {count:,} tenants by Zipf({_EXPONENT:g}): CPU a request",
            f"{settled.cpu_us:.0f} us; {settled.per_s:,.0f}/s; {settled.passed_on:.1%} passed on; "
            f"settled after {fleet.settles_s:.0f} s",
        ),
        Row(
            f"in the first {_BEGINS_S:g} s, with loads and copies",
            f"{beginning.cpu_us:.0f} us; {beginning.per_s:,.0f}/s; {beginning.passed_on:.1%} passed on",
        ),
    ]
    if servers == 1:
        return rows
    ratio = one.settled.cpu_us / settled.cpu_us
    first = one.beginning.cpu_us / beginning.cpu_us
    turns, own = one.in_turns_us / fleet.in_turns_us, fleet.at_holder_us / settled.cpu_us
    return [
        *rows,
        Row("of one server's requests per core", f"{ratio:.2f}", f"at least {_RATIO}", ratio >= _RATIO),
        Row("the same in the first seconds", f"{first:.2f}"),
        Row("the same, one server at a time", f"{turns:.2f} ({fleet.in_turns_us:.0f} us)"),
        Row(
            "of this fleet's own, where each request is sent to its holder",
            f"{own:.2f} ({fleet.at_holder_us:.0f} us)",
        ),
    ]


def _figures(fleet: Fleet, count: int) -> _Figures:
    chance = np.random.default_rng(count)
    weights = 1 / np.arange(1, count + 1) ** _EXPONENT
    held = fleet.shards()
    holders = np.array([held[shard_of(lines.user_id(n))].server_id for n in range(count)])
    anywhere: list[Endpoint] = []
    at_holder: list[Endpoint] = []
    for name, url in fleet.urls.items():
        for endpoints, likely in ((anywhere, weights), (at_holder, weights * (holders == name))):
            drawn = chance.choice(count, size=_ASKS, p=likely / likely.sum())
            asked = tuple(Ask(f"/predict/{lines.user_id(int(n))}") for n in drawn)
            endpoints.append(Endpoint(name, url, asked, body=lines.BODY))
    pids = [fleet.children[name].pid for name in fleet.members]
    began_s = time.perf_counter()
    beginning = latest = _run(anywhere, pids, _BEGINS_S)
    while not latest.is_settled and time.perf_counter() - began_s < _SETTLES_S:
        latest = _run(anywhere, pids, _WINDOW_S)
    settles_s = time.perf_counter() - began_s if latest.is_settled else math.inf
    runs, owned_us, turns_us = [], [], []
    for _ in range(_ROUNDS):
        runs.append(_run(anywhere, pids))
        owned_us.append(_run(at_holder, pids).cpu_us)
        turns = [_run([endpoint], pids, _SECONDS / len(pids)).cpu_us for endpoint in anywhere]
        turns_us.append(fmean(turns))
    for endpoint in (*anywhere, *at_holder):
        _check(endpoint)
    settled = _Cost(
        median(run.cpu_us for run in runs),
        median(run.per_s for run in runs),
        median(run.passed_on for run in runs),
        median(run.loads for run in runs),
    )
    return _Figures(beginning, settled, settles_s, median(turns_us), median(owned_us))


def _run(endpoints: Sequence[Endpoint], pids: Sequence[int], seconds: float = _SECONDS) -> _Cost:
    before_s, before = sum(map(wrk.cpu_s, pids)), _counted(endpoints)
    began_s = time.perf_counter()
    requests = _ask_all(endpoints, seconds)
    took_s = time.perf_counter() - began_s
    spent_s = sum(map(wrk.cpu_s, pids)) - before_s
    passed_on, loads = (
        (now - then) / requests for now, then in zip(_counted(endpoints), before, strict=True)
    )
    return _Cost(spent_s / requests * 1e6, requests / took_s, passed_on, loads)


def _ask_all(endpoints: Sequence[Endpoint], seconds: float) -> int:
    """Ask every server at once; return the number of answers."""
    with ThreadPoolExecutor(len(endpoints)) as pool:
        loads = list(pool.map(lambda one: wrk.run(one, seconds, _CONNECTIONS), endpoints))
    return round(sum(load.requests for load in loads))


def _check(endpoint: Endpoint) -> None:
    for ask in endpoint.requests[:_CHECKED]:
        with urllib.request.urlopen(endpoint.url + ask.path, data=endpoint.body, timeout=30) as answer:
            document = json.loads(answer.read())
        n, version = lines.read(document["predictions"])
        assert (ask.path, version) == (f"/predict/{lines.user_id(n)}", 1), document


def _counted(endpoints: Sequence[Endpoint]) -> list[float]:
    """Requests that the servers passed on so far, and models that they loaded."""
    totals = dict.fromkeys(("tenantry_forwarded_total{", "tenantry_cache_cold_loads_total"), 0.0)
    for endpoint in endpoints:
        with urllib.request.urlopen(f"{endpoint.url}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                for name in totals:
                    if line.startswith(name):
                        totals[name] += float(line.rpartition(" ")[2])
    return list(totals.values())
