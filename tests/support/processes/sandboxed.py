"""Workers that are ready: as a server has them, shut in, or not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenantry_server.workers.child.sandbox import Sandbox
from tenantry_server.workers.pool import Pool


@asynccontextmanager
async def workers(most: int, *, shut_in: bool = True) -> AsyncIterator[Pool]:
    """Start the processes that run models, up to `most` of them; they end with the context."""
    pool = Pool(most=most, held_in=Sandbox() if shut_in else None)
    pool.start()
    try:
        await pool.until_ready()
        yield pool
    finally:
        pool.close()
