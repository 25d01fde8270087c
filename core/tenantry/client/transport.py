"""How the blocking client reaches servers: over connections of http.client that it keeps."""

import time
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from tenantry.client.answers import Reply
from tenantry.client.call import CONNECT_S, Attempt
from tenantry.client.connections import Connection, PlainConnection, SecureConnection, body_of, is_open
from tenantry.client.pool import IdlePool
from tenantry.client.questions import Question
from tenantry.trust.tls import Tls


class Transport:
    """Sends questions to servers, and keeps the connections; may be shared by threads.

    Args:
        tls: whom to trust.
        headers: sent with each request.
    """

    def __init__(self, tls: Tls, headers: Mapping[str, str]) -> None:
        self._tls = tls
        self._headers = headers
        self._idle: IdlePool[Connection] = IdlePool()

    def connected(self, attempt: Attempt) -> Connection:
        """Return a connection that was open a moment ago, or a new one.

        Raises:
            OSError: the server accepts none within the time.
        """
        while True:
            connection = self._idle.get(attempt.url)
            if connection is None:
                break
            if is_open(connection):
                return connection
            connection.close()
        parts = urlsplit(attempt.url)
        host, wait_s = str(parts.hostname), min(CONNECT_S, attempt.left_s)
        opened: Connection
        if parts.scheme == "https":
            context = self._tls.client()
            opened = SecureConnection(host, parts.port, timeout=wait_s, context=context)
        else:
            opened = PlainConnection(host, parts.port, timeout=wait_s)
        try:
            opened.connect()
        except BaseException:
            opened.close()
            raise
        return opened

    def exchange(self, connection: Connection, attempt: Attempt, question: Question) -> Reply:
        """Send a request and read its answer; the connection is kept where the server keeps it.

        Raises:
            OSError, HTTPException: the connection broke.
            TimeoutError: the time is over.
        """
        ends_s = time.monotonic() + attempt.left_s
        kept = False
        try:
            sock = connection.sock
            sock.settimeout(attempt.left_s)
            path = urlsplit(attempt.url).path + question.path
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered: too large
                connection.request(
                    question.method, path, question.body, {**self._headers, **attempt.headers}
                )
                connection.flush()
            response = connection.getresponse()
            with response:
                body = body_of(response, sock, ends_s)
            kept = not response.will_close
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, body)
        finally:
            if kept:
                for old in self._idle.put(attempt.url, connection):
                    old.close()
            else:
                connection.close()

    def close(self) -> None:
        """Close the connections that are kept; a later question opens new ones."""
        for connection in self._idle.drain():
            connection.close()
