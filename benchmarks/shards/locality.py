"""What a request costs a fleet of one, two and four: small tenants, asked for by Zipf at any server."""

import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

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
_WARM_S = 15.0
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
        at_holder_us: CPU where each server is asked for what it holds only: what as many processes cost on
            this machine, which share its cores and caches.
    """

    cpu_us: float
    per_s: float
    passed_on: float
    at_holder_us: float = 0.0


def locality(folder: Path, count: int) -> list[Row]:
    """Requests per core, by the CPU that all servers take for one."""
    census = Census(f"file://{folder}/models", folder / "manifests", count)
    census.write()
    costs: dict[int, _Cost] = {}
    with tcp_postgres.running() as database:
        for servers in _FLEETS:
            url = database.database()
            census.register(url)
            with Fleet(folder / f"fleet-{servers}", url, [str(census.manifests)], servers=servers) as fleet:
                fleet.start()
                fleet.until_settled()
                costs[servers] = _cost(fleet, count)
    alone = costs[1].cpu_us
    rows = []
    for servers, cost in costs.items():
        figures = f"{cost.cpu_us:.0f} us; {cost.per_s:,.0f}/s; {cost.passed_on:.1%} passed on"
        rows.append(
            Row(f"{servers} servers, {count:,} tenants by Zipf({_EXPONENT:g}): CPU a request", figures)
        )
        if servers == 1:
            continue
        ratio = alone / cost.cpu_us
        of_one = "of one server's requests per core"
        rows.append(Row(of_one, f"{ratio:.2f}", f"at least {_RATIO}", ratio >= _RATIO))
        near = f"{cost.at_holder_us / cost.cpu_us:.2f} ({cost.at_holder_us:.0f} us)"
        rows.append(Row("of this fleet's own, where each request is sent to its holder", near))
    return rows


def _cost(fleet: Fleet, count: int) -> _Cost:
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
            _check(endpoints[-1])
    pids = [fleet.children[name].pid for name in fleet.members]
    _ask_all(anywhere, _WARM_S)
    runs, owned_us = [], []
    for _ in range(_ROUNDS):
        runs.append(_run(anywhere, pids))
        owned_us.append(_run(at_holder, pids).cpu_us)
    for endpoint in anywhere:
        _check(endpoint)
    return _Cost(
        median(run.cpu_us for run in runs),
        median(run.per_s for run in runs),
        median(run.passed_on for run in runs),
        median(owned_us),
    )


def _run(endpoints: Sequence[Endpoint], pids: Sequence[int]) -> _Cost:
    before_s, passed = sum(map(wrk.cpu_s, pids)), _passed_on(endpoints)
    began_s = time.perf_counter()
    requests = _ask_all(endpoints, _SECONDS)
    took_s = time.perf_counter() - began_s
    spent_s = sum(map(wrk.cpu_s, pids)) - before_s
    passed_on = (_passed_on(endpoints) - passed) / requests
    return _Cost(spent_s / requests * 1e6, requests / took_s, passed_on)


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


def _passed_on(endpoints: Sequence[Endpoint]) -> int:
    """Requests that the servers passed on so far."""
    total = 0.0
    for endpoint in endpoints:
        with urllib.request.urlopen(f"{endpoint.url}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("tenantry_forwarded_total{"):
                    total += float(line.rpartition(" ")[2])
    return round(total)
