"""Requests of every protocol, broken by a seed: none crashes the server, none meets a failure of it."""

import asyncio
import sys
from collections import Counter

from tests.integration.server.protocols import test_fuzzed_requests as fuzzed

from benchmarks.trust.options import Options, met
from tenantry.processes.logs import configure

_AT_ONCE = 20_000  # requests of one server
_SHOWN = 3


def run(given: Options) -> None:
    """Send them, and print what became of them."""
    configure("critical")  # clients that leave in the middle would fill it
    sent, seen, untold = 0, Counter[str](), list[list[bytes]]()
    while sent < given.requests:
        found = asyncio.run(fuzzed.run(min(_AT_ONCE, given.requests - sent), seed=given.seed + sent))
        sent, seen, untold = sent + found.sent, seen + found.seen, untold + found.untold
        print(f"{sent:,} requests, {len(untold)} untold", file=sys.stderr, flush=True)
    print(
        f"  {sent:,} requests: {len(untold)} crashes, hangs and failures that no reason names "
        f"(target 0: {met(yes=not untold)}), statuses {dict(sorted(seen.items()))}"
    )
    for pieces in untold[:_SHOWN]:
        print(f"  {pieces}")
