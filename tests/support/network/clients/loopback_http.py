"""Speak JSON to a server on this machine, with the standard library only.

Refuses: proxies, whatever the environment says of them; they cannot reach our 127.0.0.1.
"""

import contextlib
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections import deque
from typing import Any, Final
from urllib.parse import urlsplit


def exchange(method: str, url: str, body: object = None, *, timeout_s: float) -> tuple[int, Any]:
    """Send one request and read the whole answer.

    Args:
        method: of HTTP, in capitals.
        url: http, on 127.0.0.1.
        body: sent as JSON; None sends none.
        timeout_s: silence, in seconds, that ends the wait.

    Returns:
        The HTTP status, whichever it is, and the body: decoded where it is JSON, else text.

    Raises:
        OSError: no connection.
        http.client.HTTPException: what answered does not speak HTTP.
    """
    request = urllib.request.Request(url, method=method)
    request.add_header("Content-Type", "application/json")
    if body is not None:
        request.data = json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return _read(response)


class Connections:
    """Connections to one server, each used again: a new one over TLS takes more than most requests.

    Args:
        url: https, on 127.0.0.1, without a path.
        trust: what the server's certificate is checked against.
    """

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self._at: Final = urlsplit(url)
        self._trust = trust
        self._idle: deque[http.client.HTTPSConnection] = deque()

    def exchange(
        self, method: str, path: str, body: object = None, *, token: str, timeout_s: float
    ) -> tuple[int, Any]:
        """Send one request with a bearer token and read the whole answer; as `exchange`, from any thread.

        A request for which a connection that was used before fails is sent again: the server may have
        closed it meanwhile, or ended.
        """
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        data = None if body is None else json.dumps(body).encode()
        while True:
            used, connection = self._take(timeout_s)
            try:
                connection.request(method, path, data, headers)
                with connection.getresponse() as response:
                    answer = _read(response)
            except BaseException as error:
                connection.close()
                if used and isinstance(error, (ConnectionError, ssl.SSLEOFError)):
                    continue
                raise
            if connection.sock is not None:  # the server keeps it open
                self._idle.append(connection)
            return answer

    def close(self) -> None:
        """Close those that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _take(self, timeout_s: float) -> tuple[bool, http.client.HTTPSConnection]:
        """Return whether it was used before, and a connection."""
        try:
            connection = self._idle.pop()
        except IndexError:
            host, port = self._at.hostname or "", self._at.port
            return False, http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._trust)
        connection.sock.settimeout(timeout_s)
        return True, connection


def _read(response: http.client.HTTPResponse) -> tuple[int, Any]:
    text = response.read().decode()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(text) if is_json else text
