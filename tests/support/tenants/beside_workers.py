"""An application over tenants whose models run in workers, or in its own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp.test_utils import TestClient, TestServer

from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    bounded_cache,
    make_app,
)
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.support.tenants.application import Client
from tests.support.tenants.registered import CACHE_BYTES, Tenants


@asynccontextmanager
async def asked(tenants: Tenants, pool: Pool | None) -> AsyncIterator[Client]:
    """Start the application and `pool`, not started yet; None: models run in this process."""
    models = FileSystemModelRepository()
    if pool is not None:
        pool.start()
        await pool.until_ready()
        models.loader = WorkerLoads(pool, timeout_s=60).load
    try:
        cached = CachedModelRepository(models, bounded_cache(CACHE_BYTES))
        users = SQLAlchemyModelInfoRepository(tenants.engine)
        async with TestClient(TestServer(make_app(users, cached, predict_timeout_s=60))) as client:
            yield client
    finally:
        if pool is not None:
            pool.close()
