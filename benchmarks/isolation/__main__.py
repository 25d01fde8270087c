"""`python -m benchmarks.isolation --before TREE`: one table, the figures of two trees in one run.

TREE is a checkout of an earlier commit with its own .venv. Servers have one core, wrk the other; the two
trees take turns, and every answer is checked before a clock starts.
"""

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from tests.support.waiting import until

from benchmarks.isolation import kinds, trees
from benchmarks.isolation.trees import Served, serving
from benchmarks.serving import cores, wrk
from benchmarks.serving.tenants import Tenants

HERE = Path(__file__).parents[2]
_KINDS = ("ridge", "svr", "gaussian process", "own class")
_TENANTS = 50
_MIB = 1 << 20
Row = tuple[str, str, str, str]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    options.add_argument("--before", type=Path, required=True, help="the other tree")
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--seconds", type=float, default=3.0, help="of each load")
    options.add_argument("--cold", type=int, default=2000, help="cold tenants, one after the other")
    options.add_argument("--warm", type=int, default=20_000, help="warm linear tenants in memory")
    given = options.parse_args()
    wrk.require()
    cores.leave_the_servers_alone()
    table = Table("what", "before", "after", "ratio, and its target", box=None, header_style="bold")
    with tempfile.TemporaryDirectory(prefix="tenantry-isolation-") as name:
        folder = Path(name)
        rows = [*_idle(given, folder), *_cold(given, folder), *_warm(given, folder)]
        for kind in _KINDS:
            rows += _loaded(given, folder, kind)
        rows += _killed(folder)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)


@contextmanager
def _both(given: argparse.Namespace, made: Tenants, folder: Path) -> Iterator[tuple[Served, Served]]:
    with ExitStack() as stack:
        before = stack.enter_context(serving("before", given.before.resolve(), made, folder / "before"))
        after = stack.enter_context(serving("after", HERE, made, folder / "after"))
        yield before, after


def _idle(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    made = kinds.tenants("ridge", folder / "idle", 1)
    with _both(given, made, folder / "idle-servers") as (before, after):
        until(lambda: len(trees.family(after.pid)) >= 2, "the zygote is there")
        time.sleep(5)  # for it to import
        yield _row("front: CPU to ready, s", before.ready_cpu_s, after.ready_cpu_s, "at most 0.5", "{:.2f}")
        sizes = before.pss_bytes() / _MIB, after.pss_bytes() / _MIB
        yield _row("no model: PSS of all, MiB", *sizes, "at most 160 MiB", "{:.0f}")
        rest = [100 * trees.at_rest(each, 5.0) for each in (before, after)]
        yield _row("no model: share of a core at rest, %", rest[0], rest[1], "at most 1 %", "{:.2f}")
        after.ask(made.user_id(0))
        (worker,) = after.workers()
        pss, own = trees.pss_bytes(worker["pid"]) / _MIB, trees.own_bytes(worker["pid"]) / _MIB
        yield (
            "worker with no model: PSS, of its own, MiB",
            "-",
            f"{pss:.0f}, {own:.0f}",
            "own: at most 60",
        )


def _cold(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    made = kinds.tenants("ridge", folder / "cold", given.cold)
    with _both(given, made, folder / "cold-servers") as servers:
        took: dict[str, list[float]] = {served.name: [] for served in servers}
        used: dict[str, float] = {}
        for served in servers:
            served.ask(made.user_id(0))  # imports, in both
            used[served.name] = served.cpu_s()
        for n in range(1, made.count):
            for served in servers if n % 2 else reversed(servers):
                began_s = time.perf_counter()
                served.ask(made.user_id(n))
                took[served.name].append(time.perf_counter() - began_s)
        name = f"{given.cold} cold Ridge tenants, one by one"
        p50 = [1e3 * median(took[served.name]) for served in servers]
        yield _row(f"{name}: p50, ms", p50[0], p50[1], "at most 1.0", "{:.2f}")
        cpu = [1e3 * (served.cpu_s() - used[served.name]) / made.count for served in servers]
        yield _row(f"{name}: CPU each, ms", cpu[0], cpu[1], "", "{:.2f}")


def _warm(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    made = kinds.tenants("ridge", folder / "warm", given.warm)
    with _both(given, made, folder / "warm-servers") as servers:
        for served in servers:
            for n in range(made.count):
                served.ask(made.user_id(n))
        sizes = [trees.resident_bytes(served.pid) / _MIB for served in servers]
        what = f"front: resident, {given.warm} warm linear tenants, MiB"
        yield _row(what, sizes[0], sizes[1], "at most 0.8", "{:.0f}")


def _loaded(given: argparse.Namespace, folder: Path, kind: str) -> Iterator[Row]:
    made = kinds.tenants(kind, folder / kind, _TENANTS)
    with _both(given, made, folder / f"{kind}-servers") as servers:
        for served in servers:
            for n in range(made.count):
                seen, right = served.ask(made.user_id(n)), kinds.expected(made, n)
                assert abs(seen - right) <= 1e-9 * max(1.0, abs(right)), (served.name, kind, n, seen, right)
            wrk.run(served.endpoint, given.seconds)
        runs = {served.name: [] for served in servers}  # type: ignore[var-annotated]
        for number in range(given.rounds):
            for served in servers if number % 2 else reversed(servers):
                before_s = served.cpu_s()
                load = wrk.run(served.endpoint, given.seconds)
                answers = load.per_s * given.seconds
                alone = wrk.run(served.endpoint, 1, connections=1)
                runs[served.name].append((load.per_s, (served.cpu_s() - before_s) / answers, alone.p50_ms))
        (rps_b, cpu_b, p50_b), (rps_a, cpu_a, p50_a) = (
            [median(figure) for figure in zip(*runs[name], strict=True)] for name in ("before", "after")
        )
        target = "at least 1.0"
        yield _row(f"{kind}: requests/s", rps_b, rps_a, target, "{:.0f}", runs=_ratios(runs, 0))
        yield _row(f"{kind}: CPU a request, us", 1e6 * cpu_b, 1e6 * cpu_a, "", "{:.1f}")
        yield _row(f"{kind}: p50 of one connection, ms", p50_b, p50_a, "at most 1.0", "{:.3f}")


def _killed(folder: Path) -> Iterator[Row]:
    """How long another model of a worker that was killed takes to answer again."""
    made = kinds.tenants("svr", folder / "killed", 2)
    took_ms = []
    with serving("after", HERE, made, folder / "killed-server") as served:
        for _ in range(30):
            for n in range(2):
                served.ask(made.user_id(n))
            home = next(each for each in served.workers() if each["models"])
            os.kill(home["pid"], signal.SIGKILL)
            until(partial(_is_gone, served, home["pid"]), "it is gone")
            began_s = time.perf_counter()
            served.ask(made.user_id(1))
            took_ms.append(1e3 * (time.perf_counter() - began_s))
    worst = f"p50 {median(took_ms):.0f}, worst {max(took_ms):.0f}"
    yield ("worker killed, next answer of another model in it, ms (of 30)", "-", worst, "at most 300")


def _is_gone(served: Served, pid: int) -> bool:
    return pid not in [worker["pid"] for worker in served.workers()]


def _ratios(runs: dict[str, list[tuple[float, float, float]]], figure: int) -> str:
    pairs = zip(runs["before"], runs["after"], strict=True)
    ratios = sorted(after[figure] / before[figure] for before, after in pairs)
    return f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _row(what: str, before: float, after: float, target: str, form: str, runs: str = "") -> Row:
    ratio = f"{after / before:.2f}{runs}" + (f"; {target}" if target else "")
    return what, form.format(before), form.format(after), ratio


if __name__ == "__main__":
    main()
