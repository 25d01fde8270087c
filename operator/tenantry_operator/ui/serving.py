"""The page on a socket: in the operator's own port, or on one of its own."""

import contextlib
import select
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import structlog

from tenantry_operator.listening import Listener
from tenantry_operator.ui.messages import PREFIX, SECURITY, Refusal, Request, Response
from tenantry_operator.ui.site import Site

log = structlog.get_logger(__name__)

_MOST_BODY = 256 << 10
_MOST_READ_PAST = 4 << 20


class Handler(BaseHTTPRequestHandler):
    """One request of the page; the operator's probes extend it.

    Attributes:
        site: the page; None: there is none.
    """

    timeout = 10  # seconds; else a client that connects and sends nothing keeps a thread
    site: Site | None = None

    def do_GET(self) -> None:
        """Answer the page's requests."""
        if not self.serves_page():
            self.reply(404, "text/plain; charset=utf-8", f"the page is at {PREFIX}\n".encode())

    def do_POST(self) -> None:
        """Answer the page's forms."""
        if not self.serves_page():
            self.reply(405, "text/plain; charset=utf-8", b"nothing can be posted here\n")

    def serves_page(self) -> bool:
        """Answer a request for the page; False: it is for something else."""
        path = self.path.partition("?")[0]
        if self.site is None or not (path == PREFIX or path.startswith(f"{PREFIX}/")):
            return False
        try:
            request = self._request()
        except Refusal as refused:
            self.reply(refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())
            return True
        try:
            self._send(self.site.answer(request, stays=lambda: _is_there(self.connection)))
        except OSError:
            self.close_connection = True  # the client is gone
        return True

    def reply(self, status: int, kind: str, body: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Return what the header Server says: not which Python this is."""
        return "tenantry"

    def log_message(self, *_: object) -> None:
        """Log the path alone: a query holds what people look for."""
        log.debug("request", path=getattr(self, "path", "").partition("?")[0])

    def _request(self) -> Request:
        headers: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in self.headers.items():
            headers[name.lower()].append(value)
        if "transfer-encoding" in headers:
            raise Refusal(411, "", "send a Content-Length")
        length = headers.get("content-length", ["0"])
        if len(length) != 1 or not (length[0].isascii() and length[0].isdigit()):
            raise Refusal(400, "", "Content-Length is not a number")
        if int(length[0]) > _MOST_BODY:
            self._read_past(min(int(length[0]), _MOST_READ_PAST))
            raise Refusal(413, "", f"a form may have {_MOST_BODY >> 10} KiB")
        return Request(self.command, self.path, headers, self.rfile.read(int(length[0])))

    def _read_past(self, count: int) -> None:
        """Read what is not wanted: a client that still sends as its connection closes reads no answer."""
        while count > 0 and (piece := self.rfile.read(min(count, _MOST_BODY))):
            count -= len(piece)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in {"Content-Type": response.kind, **SECURITY, **response.headers}.items():
            self.send_header(name, value)
        if isinstance(response.body, bytes):
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)
            return
        with contextlib.closing(response.body) as pieces:  # type: ignore[type-var]
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)


@contextmanager
def serving(host: str, port: int, site: Site) -> Iterator[str]:
    """Serve the page alone during the block, and give its address.

    Args:
        port: 0: one that the system chooses.
        site: closed at the end of the block.

    Raises:
        OSError: the address can't be listened on.
    """
    handler = type("PageHandler", (Handler,), {"site": site})
    with Listener(host, port, handler, "page") as listener, contextlib.closing(site):
        yield f"{listener.url}{PREFIX}"


def _is_there(connection: socket.socket) -> bool:
    """Return whether a client has not closed its connection; what it sends further is left alone."""
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return not readable or bool(connection.recv(1, socket.MSG_PEEK))
    except (OSError, ValueError):
        return False
