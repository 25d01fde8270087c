"""Very many small tenants in one process: what each of them takes in memory, and whether speed lasts."""

import asyncio
import math
import time

import aiohttp

from benchmarks.operator.processes import MIB, resident_bytes
from benchmarks.serving import ours
from benchmarks.serving.contenders import bare
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.options import Options
from benchmarks.serving.report import Row, quantiles, rate, spread
from benchmarks.serving.tenants import Tenants, linear_answers
from benchmarks.serving.throughput import cpu, interleaved

_REGISTERED = 100_000
_MEASURED = 20_000
_FIRST = 100  # warm before memory counts, so that threads and imports don't: they come once
_AT_ONCE = 32
_PER_TENANT_KIB = 1.5
_WHOLE_MIB = 600
_RATIO = 1.6


def crowd(options: Options) -> list[Row]:
    """Register all, warm some and weigh them, warm the rest, weigh the whole, and race."""
    tenants = Tenants("ridge", options.folder / "crowd", options.scaled(_REGISTERED))
    some = options.scaled(_MEASURED)
    tenants.write()
    with ours.running(tenants, ours.file_ids(tenants), options.folder / "crowd-ours") as own:
        asyncio.run(_warm(own, 0, _FIRST))
        cold_bytes = resident_bytes(own.pid)
        began_s = time.perf_counter()
        asyncio.run(_warm(own, _FIRST, some))
        loads_s = (some - _FIRST) / (time.perf_counter() - began_s)
        some_bytes = resident_bytes(own.pid)
        asyncio.run(_warm(own, some, tenants.count))
        all_bytes = resident_bytes(own.pid)
        each_kib = (some_bytes - cold_bytes) / (some - _FIRST) / 1024
        with bare(tenants, options.folder / "crowd-bare") as other:
            rounds = interleaved([own, other], rounds=options.rounds, seconds=options.seconds)
    many = f"{tenants.count:,} linear tenants registered and warm"
    mine, theirs = rounds.load(own.name), rounds.load(other.name)
    ratios = rounds.ratios(own.name, other.name)
    return [
        Row(
            f"{some:,} warm linear tenants, memory of each",
            ours=f"{each_kib:.2f} KiB",
            target=f"at most {_PER_TENANT_KIB} KiB",
            met=each_kib <= _PER_TENANT_KIB,
        ),
        Row(f"{some:,} cold linear tenants from a folder", ours=f"{loads_s:,.0f} loads/s"),
        Row(
            f"{many}, one process",
            ours=f"{all_bytes / MIB:.0f} MiB; {cold_bytes / MIB:.0f} MiB when cold",
            target=f"at most {_WHOLE_MIB} MiB",
            met=all_bytes <= _WHOLE_MIB * MIB,
        ),
        Row(
            many,
            other.name,
            rate(mine),
            rate(theirs),
            spread(*ratios),
            f"at least {_RATIO}",
            ratios[1] >= _RATIO,
            quantiles(mine.p50_ms, mine.p99_ms),
            quantiles(theirs.p50_ms, theirs.p99_ms),
            cpu=cpu(rounds, own.name, other.name),
        ),
    ]


async def _warm(own: Endpoint, start: int, stop: int) -> None:
    """Ask for each tenant from `start` on, once, and hold every answer against the right one."""
    expected = linear_answers(stop)
    left = iter(range(start, stop))

    async def work(session: aiohttp.ClientSession) -> None:
        for n in left:
            one = own.requests[n]
            async with session.post(one.path, data=own.body, headers=one.headers) as response:
                answer = await response.json()
            assert response.status == 200, answer
            assert math.isclose(own.read(answer), expected[n], rel_tol=1e-9), (
                one.path,
                answer,
                expected[n],
            )

    async with aiohttp.ClientSession(own.url) as session, asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work(session))
