"""What traces cost the fast path, in this process and without sockets: noise of sockets hides it.

A server is asked over a connection of before it traced, and over one on which it samples 1 %. Rounds
alternate, and what counts is the median of the ratios of neighbours: other processes change how quick a
core is, so the least of each kind may be of different moments. A server also reads and writes sockets, so
the share is smaller there.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.integration.server.protocols.test_fast_path_calls import ASKED, Compiled
from tests.integration.server.protocols.test_fast_path_differential import Side, Transport, side

from benchmarks.serving.options import Options
from benchmarks.serving.report import Row
from tenantry.tracing.exporting import Export
from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Span
from tenantry_server.tracing import requests

_RATIO = 0.01
_TARGET = 0.05
_ROUNDS, _REQUESTS = 120, 2_000  # a round samples 20 of them
_SPANS = 2  # of a sampled request: its own, and its model's
_BATCH, _EXPORTS = 500, 20  # below the 512 with which a thread would begin by itself
_COLLECTOR = """
import sys
from tests.support.network import collector
with collector.running() as running:
    print(running.url, flush=True)
    sys.stdin.read()
"""
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PLAIN, _SAMPLED, _SENT = "plain", "sampled", "sampled and sent"


class _Even(Sampler):
    """Samples each hundredth, as chance would give the least round the fewest samples."""

    def gap(self) -> int:
        return round(1 / _RATIO)


def trace_cost(options: Options) -> list[Row]:
    """A compiled linear model; 1 % of requests sampled beside none, without the export and with it."""
    (folder := options.folder / "trace-cost").mkdir()
    with _collector() as url:
        before = os.environ.get(_ENDPOINT)
        os.environ[_ENDPOINT] = url
        try:
            took_us, names = asyncio.run(_race(folder, url))
        finally:
            os.environ.pop(_ENDPOINT) if before is None else os.environ.update({_ENDPOINT: before})
    if names != {"POST /predict/{user_id}", "predict kernel"}:
        raise RuntimeError(f"these are not the spans of the fast path: {sorted(names)}")
    plain_us = took_us[_PLAIN]
    return [
        Row(
            f"traces of 1 %, compiled Ridge without sockets: {kind}",
            "the same without traces",
            f"{took_us[kind]:.2f} us",
            f"{plain_us:.2f} us",
            target=f"at most {_TARGET:.0%} more CPU",
            met=took_us[kind] <= plain_us * (1 + _TARGET),
            cpu=f"{took_us[kind] / plain_us - 1:+.1%}",
        )
        for kind in (_SAMPLED, _SENT)
    ]


async def _race(folder: Path, url: str) -> tuple[dict[str, float], set[str]]:
    """Return the CPU of a request of each kind, in microseconds, and the names of the last spans."""
    export = Export("tenantry-server", "server-0", {_ENDPOINT: url})
    spans = deque[Span](maxlen=_BATCH)  # more would be garbage to look through
    took_us: dict[str, list[float]] = {_PLAIN: [], _SAMPLED: []}

    def ended(span: Span) -> None:
        spans.append(span)
        export.ended(span)

    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(side(fast=True, gate=None, models=Compiled(folder)))
        wires = {_PLAIN: await _wire(one)}  # of before it traces
        requests.install(one.server, _Even(_RATIO, follows=True, ended=ended, may_leave=export.may_leave))
        wires[_SAMPLED] = await _wire(one)
        for number in range(_ROUNDS):
            for kind in (_PLAIN, _SAMPLED) if number % 2 else (_SAMPLED, _PLAIN):
                took_us[kind].append(_round(wires[kind]))
        for wire in wires.values():
            wire.close()
    plain_us = median(took_us[_PLAIN])
    more = median(traced / plain for plain, traced in zip(*took_us.values(), strict=True))
    sampled_us = plain_us * more
    sent_us = sampled_us + _batch_us(export, spans) * _RATIO * _SPANS / _BATCH
    await export.close(10.0)
    return {_PLAIN: plain_us, _SAMPLED: sampled_us, _SENT: sent_us}, {span.name for span in spans}


def _batch_us(export: Export, spans: Collection[Span]) -> float:
    """Return the least CPU that encodes and posts a batch, of all threads of this process."""
    least_s = float("inf")
    for _ in range(_EXPORTS):
        export._processor.force_flush()  # noqa: SLF001 - what was queued before
        for span in spans:
            export.ended(span)
        began_s = time.process_time()
        export._processor.force_flush()  # noqa: SLF001
        least_s = min(least_s, time.process_time() - began_s)
    return least_s * 1e6


async def _wire(of: Side) -> Transport:
    """Return a connection on which the fast path answers."""
    for _ in range(10):  # the model is measured to be quick, and the head is known
        await of.said([ASKED], at_once=False)
    wire = Transport(of.server())
    await asyncio.sleep(0)
    for _ in range(200):
        wire.protocol.data_received(ASKED)
    if wire.written.count(b"HTTP/1.1 200 ") != 200:
        raise RuntimeError(f"not answered at once: {bytes(wire.written[:300])!r}")
    wire.written.clear()
    return wire


def _round(wire: Transport) -> float:
    receive = wire.protocol.data_received
    began_s = time.thread_time()
    for _ in range(_REQUESTS):
        receive(ASKED)
    took_s = time.thread_time() - began_s
    wire.written.clear()
    return took_s / _REQUESTS * 1e6


@contextmanager
def _collector() -> Iterator[str]:
    """A collector in a process of its own."""
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", _COLLECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()
