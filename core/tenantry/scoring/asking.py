"""Sends rows of many users to servers, and asks again where that may help. Safe with several threads.

A request that got no answer is sent again, which single predictions never are: a batch is scored off line,
a server runs no tenant's code in its own process, and a row that ends a worker is an error of its own.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tenantry.client.answers import Reply
from tenantry.client.errors import ClientError, NoServer, RequestRefused
from tenantry.client.pool import IdlePool
from tenantry.client.shard_map import base_url
from tenantry.processes import backoff
from tenantry.scoring import frames
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry.trust import tls

if TYPE_CHECKING:
    import pandas as pd

UNIX = "unix:"
"""Begins the address of a server that listens on a socket in the file system."""

_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_S, _LAST_S = 0.2, 10.0
_LONGEST_S = 60.0  # that a server's Retry-After is followed
_CONNECT_S = 5.0


class Stopped(Exception):
    """The caller no longer wants the answer."""


class Asker:
    """Asks servers in turn.

    Args:
        urls: base URLs.
        key: API key or token; empty: none.
        timeout_s: for one request to be answered.
        retries: how many times in a row a request is sent again.
        gone: raises where no server will ever answer; called when a connection fails.

    Servers with https are trusted by the certificates that TENANTRY_TLS_CA names, else by the system's.

    Raises:
        ValueError: an address is not one.
        InvalidSetting: these certificates can't be used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        key: str = "",
        timeout_s: float = 120.0,
        retries: int = 8,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._urls = [url if url.startswith(UNIX) else base_url(url) for url in urls]
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self.retries = retries
        self._gone = gone
        self._tls = tls.trusting()
        self._turns = count()
        self._idle: IdlePool[HTTPConnection] = IdlePool()
        self._takes_arrow = True
        self._closed = False

    def ask(
        self, rows: "pd.DataFrame", user_column: str, stop: threading.Event, *, omit_missing: bool = False
    ) -> "pd.DataFrame":
        """Return the answers to some rows: prediction, error, reason and status, one row for each.

        Args:
            stop: ends the wait before a request is sent again.
            omit_missing: as `frames.lines_body` has it.

        Raises:
            ClientError: no server answered, or none takes the request.
            Stopped: `stop` was set.
        """
        body = None
        if self._takes_arrow and not omit_missing:
            body = frames.arrow_body(rows, user_column)
        media = frames.LINES if body is None else frames.ARROW
        if body is None:
            body = frames.lines_body(rows, omit_missing=omit_missing)
        reply = self._sent(_path(user_column), body, media, stop)
        if reply.status == 415 and media == frames.ARROW:
            self._takes_arrow = False  # its server side has no pyarrow
            return self.ask(rows, user_column, stop)
        if reply.status == 413 and len(rows) > 1:
            return self._in_halves(rows, user_column, stop, omit_missing=omit_missing)
        if reply.status != 200:
            raise _explained(reply)
        try:
            answers = (frames.read_arrow if media == frames.ARROW else frames.read_lines)(reply.body)
        except ValueError as error:
            raise reply.odd(f"can't be read ({error})") from None
        if len(answers) != len(rows):
            raise reply.odd(f"has {len(answers)} rows for {len(rows)}")
        return answers

    def ask_as_arrow(
        self, rows: ArrowRows, user_column: str, columns: Sequence[str] | None, stop: threading.Event
    ) -> ArrowRows | None:
        """Return the answers to some rows; None: this form is not for these rows or servers, `ask` is.

        Raises:
            ClientError: as `ask`.
            Stopped: as `ask`.
        """
        if not self._takes_arrow or not len(rows):
            return None
        reply = self._sent(_path(user_column), rows.body(user_column, columns), frames.ARROW, stop)
        if reply.status in (413, 415):
            return None
        if reply.status != 200:
            raise _explained(reply)
        try:
            answers = ArrowRows.of_answer(reply.body)
        except ValueError as error:  # as pyarrow's own errors are
            raise reply.odd(f"can't be read ({error})") from None
        if len(answers) != len(rows):
            raise reply.odd(f"has {len(answers)} rows for {len(rows)}")
        return answers

    def close(self) -> None:
        """Close the connections that are kept, and keep none of those that are in use."""
        self._closed = True
        for connection in self._idle.drain():
            connection.close()

    def _in_halves(
        self, rows: "pd.DataFrame", user_column: str, stop: threading.Event, *, omit_missing: bool
    ) -> "pd.DataFrame":
        import pandas as pd  # noqa: PLC0415 - the caller has it

        middle = len(rows) // 2
        halves = [
            self.ask(half, user_column, stop, omit_missing=omit_missing)
            for half in (rows.iloc[:middle], rows.iloc[middle:])
        ]
        return pd.concat([half.astype(object) for half in halves], ignore_index=True).assign(
            status=lambda answers: answers["status"].astype("int64"),
            prediction=lambda answers: frames.typed(answers["prediction"]),
        )

    def _sent(self, path: str, body: bytes | bytearray, media: str, stop: threading.Event) -> Reply:
        """Send a request until it is answered otherwise than by "not now".

        Raises:
            ClientError: it was sent as often as it may be.
        """
        for failures in count(1):
            url = self._urls[next(self._turns) % len(self._urls)]
            wait_s = backoff.delay_s(failures, first_s=_FIRST_S, last_s=_LAST_S)
            problem: ClientError
            try:
                reply = self._once(url, path, body, media)
            except (OSError, HTTPException) as error:
                self._gone()
                words = str(error) or type(error).__name__
                problem = NoServer(
                    f"no answer from {_shown(url)} in {failures} attempts: {words}", server=url
                )
            else:
                if reply.status not in _AGAIN:
                    return reply
                problem = reply.error()
                wait_s = max(wait_s, min(reply.retry_after_s or 0.0, _LONGEST_S))
            if failures > self.retries:
                raise problem
            if stop.wait(wait_s):
                raise Stopped
        raise AssertionError("count() ends never")

    def _once(self, url: str, path: str, body: bytes | bytearray, media: str) -> Reply:
        connection = self._idle.get(url) or _connected(url, self._tls)
        kept = False
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(self._timeout_s)
            base = "" if url.startswith(UNIX) else urlsplit(url).path
            headers = {"Content-Type": media, "Accept": media, **self._headers}
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered: too large
                connection.request("POST", base + path, body, headers)
            with connection.getresponse() as response:
                read = response.read()
            kept = not response.will_close
            return Reply(
                response.status, {name.lower(): value for name, value in response.getheaders()}, read
            )
        finally:
            if kept:
                for old in self._idle.put(url, connection):
                    old.close()
                if self._closed:  # by another thread, meanwhile
                    self.close()
            else:
                connection.close()


class _UnixConnection(HTTPConnection):
    """To a server on a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_CONNECT_S)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_S)
        self.sock.connect(self._path)


def _connected(url: str, trusted: tls.Tls | None = None) -> HTTPConnection:
    if url.startswith(UNIX):
        return _UnixConnection(url.removeprefix(UNIX))
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = (trusted or tls.trusting()).client()
        return HTTPSConnection(str(parts.hostname), parts.port, timeout=_CONNECT_S, context=context)
    return HTTPConnection(str(parts.hostname), parts.port, timeout=_CONNECT_S)


def _path(user_column: str) -> str:
    return f"/predict?user_column={quote(user_column, safe='')}"


def _shown(url: str) -> str:
    return "the local server" if url.startswith(UNIX) else url


def _explained(reply: Reply) -> ClientError:
    """Return the error of a whole request, with what to do where the server's words don't say it."""
    error = reply.error()
    if reply.status in (401, 403):
        words = f"{error}; give a key that covers the users of the table, in TENANTRY_API_KEY"
    elif reply.status in (404, 405):
        words = (
            "this server does not answer POST /predict; it is of an older release, or the address is wrong"
        )
    elif reply.status == 413:
        words = f"one row alone is larger than a server takes: {error}"
    else:
        return error
    return RequestRefused(words, reason=error.reason, status=reply.status, server=reply.server)
