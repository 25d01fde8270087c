"""HTTP in threads of its own, on a port of this process: a busy operator still answers."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import structlog

from tenantry.processes import addresses

log = structlog.get_logger(__name__)


class Listener:
    """Serves between `with` and its end.

    Args:
        port: 0: one that the system chooses.
        handler: makes an answer of each request.
        name: of what is served, for the log and for errors.

    Attributes:
        url: where.

    Raises:
        OSError: the address can't be listened on.
    """

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler], name: str) -> None:
        self._name = name
        self._server = ThreadingHTTPServer((host, port), handler, bind_and_activate=False)
        self._server.socket.close()  # of IPv4, whatever the host
        try:
            self._server.socket = addresses.bound(host, port)
        except OSError as error:
            where = addresses.shown(host, port)
            raise OSError(error.errno, f"{error.strerror}, for the {name}", where) from error
        self._server.server_activate()
        self.url = addresses.url(host, self._server.socket.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name=self._name, daemon=True).start()
        log.info(self._name, url=self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
