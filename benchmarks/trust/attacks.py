"""Callers with keys and tokens of their own ask for other users, in every spelling that the tests know.

Three servers in this process, each of which holds a third of the users. The first answer that names another
user's number ends the run.
"""

import asyncio
import sys
from collections import Counter

from tests.support.processes import cluster
from tests.support.tenants.hostile import attackers

from benchmarks.trust.options import Options, met

_AT_ONCE = 50_000  # requests between two lines about how far it is


def run(given: Options) -> None:
    """Attack, and print what became of the requests."""
    asyncio.run(_attack(given))


async def _attack(given: Options) -> None:
    tenants = attackers.Tenants(given.users)
    seen, own_seen, passed_on, sent = Counter[int](), Counter[int](), 0, 0
    settings = {**attackers.SETTINGS, "gate": tenants.gate}
    async with cluster.running(tenants.models, tenants.holders, **settings) as servers:
        while sent < given.requests:
            count = min(_AT_ONCE, given.requests - sent)
            for attacker in await attackers.run(servers, tenants, count, seed=given.seed + sent):
                seen += attacker.seen
                own_seen += attacker.own_seen
                passed_on += attacker.passed_on
            sent = seen.total() + own_seen.total()
            print(f"{sent:,} requests", file=sys.stderr, flush=True)
    print(
        f"  {seen.total():,} requests for others of {len(tenants.holders):,} users: 0 answered "
        f"(target 0: met)\n  statuses {dict(sorted(seen.items()))}; 200 refuses each row of a batch, or "
        f"says that a server is ready\n  {own_seen.total():,} requests of the same callers for their own "
        f"users: {own_seen[200]:,} answered, {passed_on:,} of them by another server (target all: "
        f"{met(yes=set(own_seen) == {200})})"
    )
