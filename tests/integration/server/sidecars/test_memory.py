"""What a sidecar takes of its pod's memory, in a fleet of many tenants."""

import asyncio
import hashlib
import uuid
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from tenantry.registry import Assignment, Changes, Holding
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server.sidecars import routes
from tenantry_server.sidecars.feed import Feed
from tenantry_server.sidecars.followed_table import FollowedTable
from tests.support.processes import sidecars
from tests.support.waiting import until_soon

TENANTS = 20_000
MOST_MIB = 60.0
SECRET = "correct horse battery staple"  # noqa: S105 - of this test


def row(n: int) -> Assignment:
    digest = hashlib.sha256(str(n).encode()).hexdigest()
    uri = f"s3://models/store-{n:06}/2026-11-20.skops?versionId={digest[:32]}#etag={digest[32:]}"
    return Assignment(f"store-{n:06}", str(uuid.UUID(digest[:32])), 1, uri, revision=n, size_bytes=400)


async def test_a_sidecar_of_a_large_fleet_takes_little_memory(tmp_path: Path) -> None:
    table = FollowedTable()
    feed = Feed(table)
    changes = Changes(TENANTS, True, [row(n) for n in range(TENANTS)], {3: Holding("a")})
    table.apply(changes)
    feed.changed(changes)
    table.contact.renewed(until_s=float("inf"))
    app = web.Application()
    app.add_routes(routes.routes(feed, FleetSecrets(SECRET)))
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        pod = sidecars.start_in(tmp_path, "pod", url, {"TENANTRY_FLEET_SECRET": SECRET})
        try:
            await until_soon(lambda: "caught up" in pod.log)
            mib = await asyncio.to_thread(pod.metric, "tenantry_sidecar_resident_bytes") / (1 << 20)
            print(f"{TENANTS} tenants: {mib:.1f} MiB resident")
            assert mib <= MOST_MIB
        finally:
            await asyncio.to_thread(pod.child.stop, grace_s=60.0)
