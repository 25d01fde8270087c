"""Whom the next request goes to: round robin over those that say that they are ready, as a Service does."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.support.network.clients.http_client import Connections, Lost, Refused, Silent

_EVERY_S = 0.1  # a kubelet takes seconds; tests have less time
_PATIENCE_S = 1.0  # a kubelet's own default


class Balancer:
    """Asks each server's /readyz again and again, and leaves out those that don't say yes.

    Args:
        servers: base URLs by name.
    """

    def __init__(self, servers: Mapping[str, str]) -> None:
        self._ports: dict[str, int] = {}
        self._ready: dict[str, bool] = {}
        self._next = 0
        for name, url in servers.items():
            self.add(name, url)

    def add(self, name: str, url: str) -> None:
        """One more, which has to say that it is ready first."""
        self._ports[name] = int(urlsplit(url).port or 0)
        self._ready[name] = False

    def turn(self) -> list[tuple[str, int]]:
        """Names and ports in the order to be tried; all of them where none is ready."""
        names = [name for name, ready in self._ready.items() if ready] or list(self._ports)
        self._next += 1
        start = self._next % len(names)
        return [(name, self._ports[name]) for name in (*names[start:], *names[:start])]

    def refused(self, name: str) -> None:
        """Nobody listens there: ask others until it says that it is ready again."""
        self._ready[name] = False

    async def run(self) -> None:
        """Probe until cancelled."""
        connections = Connections()
        probing: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for name in self._ports:
                    if name not in probing or probing[name].done():
                        probing[name] = asyncio.create_task(self._probe(connections, name))
                await asyncio.sleep(_EVERY_S)
        finally:
            for task in probing.values():
                task.cancel()
            await asyncio.gather(*probing.values(), return_exceptions=True)
            connections.close()

    async def _probe(self, connections: Connections, name: str) -> None:
        try:
            reply = await connections.get(self._ports[name], "/readyz", timeout_s=_PATIENCE_S)
            self._ready[name] = reply.status == 200
        except (Refused, Lost, Silent):
            self._ready[name] = False
