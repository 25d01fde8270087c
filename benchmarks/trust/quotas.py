"""One tenant at ten times its limit, and what the others notice.

Three servers of `tenantry up` on one socket. The others' requests come at a steady rate. Three cases take
turns: the tenant is absent; it keeps within its limit; it sends ten times that. Within its limit, the
generator sends the rest of the ten times to a process that answers all alike, so that it works as much as
beyond: both share the cores. The target is held against within.
"""

import asyncio
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.svm import SVR
from tests.support.processes import up
from tests.support.processes.up import Up

from benchmarks.trust.options import Options, met
from benchmarks.trust.steady import Caller, Seen, constant, post
from tenantry_server import publish

OTHERS, OTHERS_RATE = 20, 200.0  # requests a second, together
LIMIT, TIMES = 50.0, 10.0  # of the greedy tenant
CONNECTIONS = 30  # of each client
UNLOADS_EVERY_S = 0.1
TARGET, WITHIN = 1.2, 0.2
GREEDY = ("warm", "cold", "slow")
CASES = ("absent", "within", "beyond")
ROW = b'[{"a": 1.0, "b": 2.0}]'


@dataclass
class Case:
    """What was measured of one case, a round at a time."""

    p99_ms: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass
class Load:
    """The clients.

    Attributes:
        others: asks for the other tenants.
        greedy: asks for the one with a limit.
        idle: asks the process that answers all alike.
    """

    others: Caller
    greedy: Caller
    idle: Caller
    constant_pid: int

    async def turn(self, greedy: str, case: str, seconds: float, found: Case) -> None:
        """Measure one case for so long."""
        others = [post(f"/predict/other-{number}", ROW) for number in range(OTHERS)]
        to = [post(f"/predict/{greedy}", ROW)]
        rate = {"absent": 0.0, "within": LIMIT, "beyond": LIMIT * TIMES}[case]
        rest = LIMIT * TIMES - LIMIT if case == "within" else 0.0
        await asyncio.sleep(1.0)  # in which a burst is saved up
        before_s = _cpu_s(self.constant_pid)
        unloads = asyncio.create_task(self._unload(greedy) if case != "absent" else asyncio.sleep(0))
        ours, theirs, _ = await asyncio.gather(
            self.others.send(others, OTHERS_RATE, seconds),
            self.greedy.send(to, rate, seconds) if rate else _nothing(),
            self.idle.send(to, rest, seconds) if rest else _nothing(),
        )
        unloads.cancel()
        assert set(ours.statuses) == {200}, ours.statuses
        found.cpu_s.append(_cpu_s(self.constant_pid) - before_s)
        found.p99_ms.append(ours.p99_ms)
        found.statuses += theirs.statuses

    async def _unload(self, greedy: str) -> None:
        """Take the model of the cold tenant out of memory again and again, until cancelled."""
        while greedy == "cold":
            await self.greedy.send([post("/v2/repository/models/cold/unload", b"{}")], 1.0, 1.0)
            await asyncio.sleep(UNLOADS_EVERY_S)


async def _nothing() -> Seen:
    return Seen()


async def _race(port: int, constant_port: int, constant_pid: int, given: Options) -> None:
    load = Load(
        Caller(port, CONNECTIONS),
        Caller(port, CONNECTIONS),
        Caller(constant_port, CONNECTIONS),
        constant_pid,
    )
    callers = (load.others, load.greedy, load.idle)
    for caller in callers:
        await caller.open()
    try:
        for greedy in GREEDY:
            await load.turn(greedy, "within", 1.0, Case())  # warm
            found: dict[str, Case] = defaultdict(Case)
            for number in range(given.rounds):
                for place in range(len(CASES)):
                    case = CASES[(place + number) % len(CASES)]
                    await load.turn(greedy, case, given.seconds, found[case])
            _print(greedy, found, given)
    finally:
        for caller in callers:
            caller.close()


def _print(greedy: str, found: dict[str, Case], given: Options) -> None:
    absent, within, beyond = (found[case] for case in CASES)
    ratio, beside_none = _ratio(beyond, within), _ratio(beyond, absent)
    p99 = ", ".join(f"{median(found[case].p99_ms):.1f} ms {case}" for case in CASES)
    answered = (beyond.statuses[200] / given.rounds - LIMIT) / given.seconds  # but for the burst
    refused = max(1, beyond.statuses[429] - within.statuses[429])
    cost_us = (sum(beyond.cpu_s) - sum(within.cpu_s)) / refused * 1e6
    others_us = sum(absent.cpu_s) / (OTHERS_RATE * given.seconds * given.rounds) * 1e6
    print(
        f"  {greedy}: others' p99 {p99}\n    beyond / within {ratio:.2f} (target {TARGET:g}: "
        f"{met(yes=ratio <= TARGET)}), beyond / absent {beside_none:.2f}\n    answered {answered:.1f} a "
        f"second after the burst, of {LIMIT:g} (target within {WITHIN:.0%}: "
        f"{met(yes=abs(answered / LIMIT - 1) <= WITHIN)}), {dict(beyond.statuses)}\n    CPU of the fleet: "
        f"{cost_us:.0f} us for a refusal, {others_us:.0f} us for a request of the others, idling included",
        flush=True,
    )


def _ratio(one: Case, other: Case) -> float:
    """The median over rounds: what else the machine does meets neighbouring turns alike."""
    return median(a / b for a, b in zip(one.p99_ms, other.p99_ms, strict=True))


def _cpu_s(without: int) -> float:
    """Return the CPU that the fleet took so far: every process below this one but `without`."""
    parents, ticks = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)], ticks[int(entry.name)] = int(stat[1]), sum(map(int, stat[11:15]))

    def is_fleet(pid: int) -> bool:
        while pid in parents and pid != without:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return sum(ticks[pid] for pid in ticks if is_fleet(pid)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _fleet(root: Path) -> Iterator[Up]:
    """Three servers, whose tenants are ready."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 2))
    ridge = Ridge().fit(rows, rows.sum(axis=1))
    slow = SVR(C=1.0, epsilon=1e-6).fit(rows, rng.normal(size=4000))  # some milliseconds in a worker
    models, tenants = root / "models", root / "tenants"
    for number in range(OTHERS):
        publish(ridge, user_id=f"other-{number}", to=models, manifests=tenants)
    limits = {"limits": {"requestsPerSecond": LIMIT, "burst": int(LIMIT)}}
    for name in GREEDY:
        model = slow if name == "slow" else ridge
        publish(model, user_id=name, to=models, manifests=tenants, spec=limits)
    env = {"TENANTRY_OPEN_REPOSITORY": "true"}
    with up.running(tenants, root / "state", servers=3, env=env) as fleet:
        fleet.until_ready(OTHERS + len(GREEDY))
        yield fleet


def run(given: Options) -> None:
    """Start the servers, measure, and print a few lines for each kind of model."""
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-quotas-") as folder,
        _fleet(Path(folder)) as fleet,
        constant() as (port, pid),
    ):
        asyncio.run(_race(int(urlsplit(fleet.url).port or 0), port, pid, given))
