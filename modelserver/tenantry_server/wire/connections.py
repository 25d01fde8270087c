"""Connections of clients: closed where no request ever arrives on them.

Leans on `RequestHandler._request_count` of aiohttp 3.14;
tests/integration/server/test_slow_clients.py fails without it.
"""

import asyncio
import time

from aiohttp import web

KEEPALIVE_S = 75.0
"""How long a connection may stay idle between requests: longer than load balancers keep theirs (60 s)."""


async def close_mute(server: web.Server, timeout_s: float) -> None:
    """Close connections on which no head has arrived whole within `timeout_s`, until cancelled.

    The same time between requests is bounded by the keep-alive timeout.
    """
    mute: dict[web.RequestHandler, float] = {}
    while True:
        await asyncio.sleep(min(1.0, timeout_s / 4))
        now_s = time.monotonic()
        mute = {
            each: mute.get(each, now_s)
            for each in server.connections
            if each._request_count == 0  # noqa: SLF001 - see above
        }
        for connection, since_s in mute.items():
            if now_s - since_s > timeout_s:
                connection.force_close()
