"""The port of this server: taken first, so that it can be named, and accepted from once all else stands."""

import contextlib
import socket
from collections.abc import Iterator

from aiohttp import web

from tenantry.processes import addresses
from tenantry.trust.tls import Tls
from tenantry_server.wire.secure_site import BACKLOG, SecureSite


class Port:
    """Taken when made; until this server accepts, a client is refused there and asks another one.

    Args:
        host, port: of this server; 0: a port that the system chooses.
        tls: whether it takes TLS, and plain HTTP.
        head_s: for a connection to begin.

    Raises:
        OSError: the address can't be had; names it.
    """

    def __init__(self, host: str, port: int, tls: Tls, *, head_s: float) -> None:
        self._host, self._asked = host, port
        self._tls = tls
        self._head_s = head_s
        with self._named():
            self._own = addresses.bound(host, port)

    def endpoint(self, advertised: str | None) -> str:
        """Return the base URL under which peers reach this server.

        Args:
            advertised: as settings have it; its scheme is made to be what the port takes.
        """
        url = advertised or addresses.url(self._host, self._own.getsockname()[1])
        return url.replace("http://", "https://", 1) if self._tls.required else url

    async def accept(self, runner: web.AppRunner) -> None:
        """Accept connections from now on.

        Raises:
            OSError: another process listens there; names the address.
        """
        with self._named():
            await self.accept_from(runner, self._own)

    async def accept_from(self, runner: web.AppRunner, listening: socket.socket) -> None:
        """Accept connections from another socket too, in the same way."""
        listening.setblocking(False)
        if self._tls.serves:
            await SecureSite(runner, listening, self._tls, head_s=self._head_s).start()
        else:
            await web.SockSite(runner, listening, backlog=BACKLOG).start()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the address in an error."""
        try:
            yield
        except OSError as error:
            where = addresses.shown(self._host, self._asked)
            raise OSError(error.errno, error.strerror, where) from error
