"""No caller with a key or a token of its own is answered for another user.

Three servers, each of which holds some of the users, so that requests are passed on.
TENANTRY_ATTACK_REQUESTS and TENANTRY_ATTACK_USERS ask for more than the gate has time for;
`python -m benchmarks.trust --only attacks` sends a million.
"""

import os
from collections import Counter

from tests.support.processes import cluster
from tests.support.tenants.hostile import attackers

REQUESTS = int(os.environ.get("TENANTRY_ATTACK_REQUESTS", "6000"))
USERS = int(os.environ.get("TENANTRY_ATTACK_USERS", "40"))


async def test_no_caller_is_answered_for_another() -> None:
    tenants = attackers.Tenants(USERS)
    settings = {**attackers.SETTINGS, "gate": tenants.gate}
    async with cluster.running(tenants.models, tenants.holders, **settings) as servers:
        ran = await attackers.run(servers, tenants, REQUESTS)
    seen = sum((attacker.seen for attacker in ran), Counter[int]())
    own_seen = sum((attacker.own_seen for attacker in ran), Counter[int]())
    assert seen[401] > 0, seen
    assert seen[403] > REQUESTS / 10, seen
    assert own_seen[200] > REQUESTS / 20, own_seen
    # On a machine so slow that servers take one another for dead:
    assert set(own_seen) <= {200, 500, 503, 504}, own_seen
    assert sum(attacker.passed_on for attacker in ran) > 0
