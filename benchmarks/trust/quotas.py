"""One tenant at ten times its limit, and what the others notice: ``python -m benchmarks.trust.quotas``.

Three servers of `tenantry up` on one socket. The others' requests come at a steady rate, whatever their
answers take; rounds without and with the greedy tenant alternate.
"""

import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.svm import SVR
from tests.support.processes import up

from tenantry_server import publish

OTHERS, OTHERS_RATE = 20, 200.0  # requests a second, together
LIMIT, TIMES = 50.0, 10.0  # of the greedy tenant
ROUNDS, SECONDS = 3, 6.0
UNLOADS_EVERY_S = 0.1
TARGET, WITHIN = 1.2, 0.2
GREEDY = ("warm", "cold", "slow")


@dataclass
class Seen:
    """What became of some requests."""

    took_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def p99_ms(self) -> float:
        """Of all answers."""
        return float(np.percentile(self.took_s, 99)) * 1e3


async def send(session: aiohttp.ClientSession, url: str, rows: object, seen: Seen) -> None:
    """One request."""
    began_s = time.perf_counter()
    async with session.post(url, json=rows) as response:
        await response.read()
        seen.statuses[response.status] += 1
    seen.took_s.append(time.perf_counter() - began_s)


async def steady(session: aiohttp.ClientSession, urls: list[str], rate: float, seconds: float) -> Seen:
    """Requests at a rate, each at its time."""
    seen, began_s = Seen(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
            group.create_task(send(session, urls[number % len(urls)], [{"a": 1.0, "b": 2.0}], seen))
    return seen


async def unloading(session: aiohttp.ClientSession, url: str) -> None:
    """Take a model out of memory again and again, until cancelled."""
    while True:
        async with session.post(url) as response:
            await response.read()
        await asyncio.sleep(UNLOADS_EVERY_S)


async def races(url: str) -> None:
    """Measure each kind of greedy tenant, and print a line for it."""
    others = [f"{url}/predict/other-{number}" for number in range(OTHERS)]
    # A connection a request: one socket for all servers spreads connections, not requests.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        await steady(session, [*others, *(f"{url}/predict/{each}" for each in GREEDY)], OTHERS_RATE, 3.0)
        for greedy in GREEDY:
            alone, beside, theirs = [], [], Seen()
            for _ in range(ROUNDS):
                alone.append((await steady(session, others, OTHERS_RATE, SECONDS)).p99_ms)
                unloads = asyncio.create_task(
                    unloading(session, f"{url}/v2/repository/models/cold/unload")
                    if greedy == "cold"
                    else asyncio.sleep(0)
                )
                ours, more = await asyncio.gather(
                    steady(session, others, OTHERS_RATE, SECONDS),
                    steady(session, [f"{url}/predict/{greedy}"], LIMIT * TIMES, SECONDS),
                )
                unloads.cancel()
                assert set(ours.statuses) == {200}, ours.statuses
                beside.append(ours.p99_ms)
                theirs.statuses += more.statuses
            rate = theirs.statuses[200] / (ROUNDS * SECONDS)
            ratio = median(beside) / median(alone)
            print(
                f"{greedy:5} others' p99 {median(alone):.1f} ms alone, {median(beside):.1f} ms beside it: "
                f"{ratio:.2f} (target {TARGET:g}: {_met(ratio <= TARGET)})\n      it was answered "
                f"{rate:.1f} times a second of {LIMIT:g}, bursts included (target within {WITHIN:.0%}: "
                f"{_met(abs(rate / LIMIT - 1) <= WITHIN)}), {dict(theirs.statuses)}"
            )


def _met(yes: bool) -> str:
    return "met" if yes else "MISSED"


def main() -> None:
    """Publish the tenants, start the servers, and measure."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 2))
    ridge = Ridge().fit(rows, rows.sum(axis=1))
    slow = SVR(C=1e4, epsilon=1e-6).fit(rows, rng.normal(size=4000))  # some milliseconds in a worker
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(OTHERS):
            publish(ridge, user_id=f"other-{number}", to=root / "models", manifests=root / "tenants")
        for name in GREEDY:
            publish(
                slow if name == "slow" else ridge,
                user_id=name,
                to=root / "models",
                manifests=root / "tenants",
                spec={"limits": {"requestsPerSecond": LIMIT, "burst": int(LIMIT)}},
            )
        settings = {"TENANTRY_OPEN_REPOSITORY": "true"}
        with up.running(root / "tenants", root / "state", servers=3, env=settings) as fleet:
            fleet.until_ready(OTHERS + len(GREEDY))
            asyncio.run(races(fleet.url))


if __name__ == "__main__":
    main()
