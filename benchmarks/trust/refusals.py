"""CPU of a refusal by a user's rate on the fast path, beside that of a prediction by a model in memory."""

import asyncio
import time
from contextlib import AsyncExitStack

from tests.integration.server.protocols.test_fast_path_differential import Transport, side

from benchmarks.trust.admission import REQUESTS, ROUNDS, request
from benchmarks.trust.options import Options, met
from tenantry.manifest.limits import Limits
from tenantry_server.quotas.quotas import Quotas

_STATUS = {"answered": b"HTTP/1.1 200 ", "refused": b"HTTP/1.1 429 "}
_FEW = Limits(requests_per_second=0.001, burst=6)


def run(_given: Options) -> None:
    """Measure, and print both."""
    least = asyncio.run(_race())
    print(
        f"  answered {least['answered']:.1f} us, refused {least['refused']:.1f} us (target: less than "
        f"answered: {met(yes=least['refused'] < least['answered'])})"
    )


async def _race() -> dict[str, float]:
    """Return the least of all rounds for each, in microseconds."""
    least, sent = dict.fromkeys(_STATUS, float("inf")), request(b"")
    async with AsyncExitStack() as stack:
        wires = {}
        for name, quotas in (("answered", None), ("refused", Quotas({"ann": _FEW}))):
            one = await stack.enter_async_context(side(fast=True, gate=None, quotas=quotas))
            for _ in range(10):  # more than may be answered
                await one.said([sent], at_once=False)
            wires[name] = Transport(one.server())
        await asyncio.sleep(0)
        for _ in range(ROUNDS):
            for name, wire in wires.items():
                began_s = time.process_time()
                for _ in range(REQUESTS):
                    wire.protocol.data_received(sent)
                least[name] = min(least[name], (time.process_time() - began_s) / REQUESTS * 1e6)
                assert wire.written.count(_STATUS[name]) == REQUESTS, name
                wire.written.clear()
        for wire in wires.values():
            wire.close()
    return least
