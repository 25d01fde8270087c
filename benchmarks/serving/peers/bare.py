"""The least that an ordinary aiohttp server does: it reads the body and returns a constant.

A program: prints the port that it listens on.
"""

import asyncio
import sys

import uvloop
from aiohttp import web

ANSWER = b"[-12.345678901234567]"  # as long as a prediction


async def predict(request: web.Request) -> web.Response:
    """Answer without reading the request."""
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def main() -> None:
    """Serve until killed, and print the port."""
    app = web.Application()
    app.router.add_post("/predict/{user_id}", predict)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"port {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        sys.exit(loop.run(main()))
