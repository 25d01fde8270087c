"""A fourth server joins three that are asked all the time: what moves, and what clients notice."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.databases import tcp_postgres
from tests.support.load.figures import Phase
from tests.support.load.steady import Load
from tests.support.processes.fleet import Fleet
from tests.support.tenants import lines
from tests.support.tenants.census import Census

from benchmarks.operator.report import Row
from tenantry.placement import shard_of
from tenantry.registry import Holding

_SERVERS = 3
_PER_S = 300.0  # of what two cores can do for five processes and PostgreSQL, a third
_MOVED = 0.25 + 0.03
_UNEVEN = 1.10
_STEADY_S = 20
_SETTLE_S = 120.0


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A tenant on its server."""

    server: str
    size_bytes: int


def join(folder: Path, count: int) -> list[Row]:
    """With `count` tenants of sizes between 0.4 and 40 KB; default settings."""
    folder.mkdir(parents=True)
    census = Census(f"file://{folder}/models", folder / "manifests", count, size_bytes=_size_bytes)
    census.write()
    with tcp_postgres.running() as database:
        url = database.database()
        census.register(url)
        env = {"TENANTRY_LEASE_S": "10"}
        with Fleet(folder / "fleet", url, [str(census.manifests)], env=env, servers=_SERVERS) as fleet:
            fleet.start()
            fleet.until_settled(timeout_s=_SETTLE_S)
            with Load(fleet.urls, range(count), per_s=_PER_S) as load:
                load.until_answered(int(_STEADY_S * _PER_S))
                load.phase("before")
                load.until_answered(int(_STEADY_S * _PER_S))
                before = fleet.shards()
                load.phase("during")
                newcomer = fleet.enroll()
                load.add(newcomer.name, newcomer.url)
                fleet.start(newcomer.name)
                fleet.until_settled(timeout_s=_SETTLE_S)
                load.phase("after")
                load.until_answered(int(_STEADY_S * _PER_S))
            figures = load.stop()
            after = fleet.shards()
    for problem in figures.whole.examples:
        print(problem)
    return [
        *_moves(_weighed(before, count), _weighed(after, count)),
        *_noticed(figures.phases),
    ]


def _moves(before: Mapping[int, _Weighed], after: Mapping[int, _Weighed]) -> list[Row]:
    moved = [n for n, weighed in after.items() if before[n].server != weighed.server]
    tenants = len(moved) / len(after)
    whole_bytes = sum(weighed.size_bytes for weighed in after.values())
    moved_bytes = sum(after[n].size_bytes for n in moved) / whole_bytes
    held = dict.fromkeys({weighed.server for weighed in after.values()}, 0)
    for weighed in after.values():
        held[weighed.server] += weighed.size_bytes
    uneven = max(held.values()) * len(held) / whole_bytes
    sideways = sum(after[n].server != f"server-{_SERVERS}" for n in moved)
    return [
        Row(
            f"3 to 4 servers, {len(after):,} tenants: tenants moved",
            f"{tenants:.1%}",
            "at most 28 %",
            tenants <= _MOVED,
        ),
        Row("of their bytes", f"{moved_bytes:.1%}", "at most 28 %", moved_bytes <= _MOVED),
        Row("tenants moved, but not to the newcomer", f"{sideways}", "0", sideways == 0),
        Row("most bytes on one server, to the mean", f"{uneven:.3f}", "at most 1.10", uneven <= _UNEVEN),
    ]


def _noticed(phases: Mapping[str, Phase]) -> list[Row]:
    whole = [phases[name] for name in ("before", "during", "after")]
    sent = sum(phase.sent for phase in whole)
    bad = sum(phase.failures + phase.wrong + phase.stale for phase in whole)
    rows = [Row(f"requests failed, wrong or stale, of {sent:,}", f"{bad}", "0", bad == 0)]
    before_ms = phases["before"].quantile_ms(0.99)
    for name, phase in zip(("before", "during", "after"), whole, strict=True):
        p50_ms, p99_ms = phase.quantile_ms(0.5), phase.quantile_ms(0.99)
        ratio = "" if name == "before" else f", {p99_ms / before_ms:.2f} x"
        passed_on = phase.hops / max(phase.sent, 1)
        rows.append(
            Row(
                f"p50 and p99 {name}", f"{p50_ms:.2f} and {p99_ms:.1f} ms{ratio}; {passed_on:.0%} passed on"
            )
        )
    return rows


def _weighed(shards: Mapping[int, Holding], count: int) -> dict[int, _Weighed]:
    return {n: _Weighed(shards[shard_of(lines.user_id(n))].server_id, _size_bytes(n)) for n in range(count)}


def _size_bytes(n: int) -> int:
    """From affine maps to small forests, as a registry would know them."""
    return 400 * (1 + n * 7919 % 100)
