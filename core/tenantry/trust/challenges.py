"""Which servers have proved that they are the ones of their rows.

The operator gives shards to no other, and servers pass requests on to no other.

Anybody who can write to the table of servers can invent one. Where the fleet has a secret, its endpoint has
to answer a challenge first.
"""

import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

import structlog

from tenantry.registry import Server
from tenantry.trust import proofs
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry.trust.tls import Tls

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0
_AGAIN_S = 1.0
_THREADS = 4
_ANSWER_BYTES = 256

_Row = tuple[str, str]  # a server's name and endpoint


def ask(endpoint: str, path: str, tls: Tls | None = None) -> str:
    """Return what an endpoint answers; no redirect is followed.

    Args:
        tls: whom this process trusts; None: as the system does.

    Raises:
        OSError, ValueError, http.client.HTTPException: it did not answer, or not with 200.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{endpoint!r} is not an HTTP endpoint")
    tls = tls or Tls()
    where = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    connection: http.client.HTTPConnection
    if tls.secures(parts.scheme):
        connection = http.client.HTTPSConnection(*where, timeout=_TIMEOUT_S, context=tls.client())
    else:
        connection = http.client.HTTPConnection(*where, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"it answered {answer.status}")
        return str(answer.read(_ANSWER_BYTES), "latin-1")
    finally:
        connection.close()


class Challenges:
    """Asks the endpoints of new rows, in threads of its own.

    Args:
        secrets: of the fleet; None: every row is believed.
        own: the name of this server, which need not prove itself; empty: this is none.
        ask: as the function of that name.
    """

    def __init__(
        self, secrets: FleetSecrets | None, own: str = "", *, ask: Callable[[str, str], str] = ask
    ) -> None:
        self._secrets = secrets
        self._accepted = () if secrets is None else secrets.accepted
        self._own = own
        self._ask = ask
        self._proven: set[_Row] = set()
        self._doubted: set[_Row] = set()  # proven by secrets of which one is gone
        self._asked: dict[_Row, Future[bool]] = {}
        self._again_s: dict[_Row, float] = {}
        self._pool = None if secrets is None else ThreadPoolExecutor(_THREADS, "challenge")

    def proven(self, servers: Sequence[Server]) -> list[Server]:
        """Return the servers that have proved who they are; ask the others, and do not wait for them."""
        if self._pool is None:
            return list(servers)
        self._hear()
        rows = {(server.server_id, server.endpoint) for server in servers}
        self._doubt()
        self._proven &= rows
        self._doubted &= self._proven
        self._again_s = {row: at_s for row, at_s in self._again_s.items() if row in rows}
        now_s = time.monotonic()
        for server in servers:
            row = (server.server_id, server.endpoint)
            waits = now_s < self._again_s.get(row, now_s)
            known = server.server_id == self._own or row in self._proven - self._doubted
            if server.live and not known and not waits and row not in self._asked:
                self._asked[row] = self._pool.submit(self._proves, *row)
        return [
            server
            for server in servers
            if server.server_id == self._own or (server.server_id, server.endpoint) in self._proven
        ]

    @property
    def open(self) -> bool:
        """Whether one has been asked, and its answer was not yet taken."""
        return bool(self._asked)

    def close(self) -> None:
        """Ask nobody any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _doubt(self) -> None:
        """Ask the proven ones again where a secret is gone: who knew only that one loses its place."""
        now = () if self._secrets is None else self._secrets.accepted
        if not {*self._accepted} <= {*now}:
            self._doubted |= self._proven
        self._accepted = now

    def _hear(self) -> None:
        for row, answer in list(self._asked.items()):
            if answer.done():
                del self._asked[row]
                self._doubted.discard(row)
                if answer.result():
                    self._proven.add(row)
                else:
                    self._proven.discard(row)
                    self._again_s[row] = time.monotonic() + _AGAIN_S

    def _proves(self, server_id: str, endpoint: str) -> bool:
        asked = proofs.challenge()
        try:
            answer = self._ask(endpoint, proofs.PATH + asked)
            if proofs.known(self._accepted, server_id, endpoint, asked, answer.strip()):
                return True
            why = "its answer is wrong; give operator and servers one TENANTRY_FLEET_SECRET"
        except Exception as error:  # whatever a stranger's answer breaks
            why = f"{type(error).__name__}: {error}"
        log.warning(
            "a server is not believed: it proves nothing", server=server_id, url=endpoint, error=why
        )
        return False
