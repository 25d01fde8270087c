"""What the page asks of a model server: a card, its workers, its metrics, and one prediction for a visitor.

It asks servers of the registry only, at paths of this module only, follows no redirect, and reads a bounded
answer. An admin's key is shown to a server that has proved to know the fleet's secret just now, and to no
other: anybody who can write to the table of servers could else collect keys.
"""

import http.client
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlsplit

from tenantry.registry import Server
from tenantry.trust import challenges, proofs
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry.trust.tls import Tls

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252}")
_MOST_BYTES = 512 << 10
_CHUNK_BYTES = 16 << 10
_SHORT_S, _LONG_S = 2.0, 15.0


class NotAnswered(Exception):
    """No server answered; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered, whatever its status.

    Attributes:
        seconds: from the connection to the last byte.
        is_whole: whether nothing was left out.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    is_whole: bool = True


class Asker:
    """Asks model servers.

    Args:
        secrets: of the fleet; None: every row of the registry is believed, and no key is shown to any.
        tls: whom this process trusts.
    """

    def __init__(self, secrets: FleetSecrets | None, tls: Tls) -> None:
        self._secrets = secrets
        self._tls = tls
        self._challenge = partial(challenges.ask, tls=tls)

    def card(self, server: Server, user_id: str, key: str | None) -> Reply:
        """Ask for the card of a user's model."""
        return self._ask(server, "GET", f"/cards/{_named(user_id)}", None, key, _SHORT_S)

    def workers(self, server: Server, key: str | None) -> Reply:
        """Ask for the processes in which a server runs models."""
        return self._ask(server, "GET", "/workers", None, key, _SHORT_S)

    def metrics(self, server: Server, key: str | None) -> Reply:
        """Ask for what a server counted since it started."""
        return self._ask(server, "GET", "/metrics", None, key, _SHORT_S)

    def tenant(self, server: Server, user_id: str, key: str | None) -> Reply:
        """Ask for what a server counted of one tenant."""
        asked = quote(_named(user_id), safe="")
        return self._ask(server, "GET", f"/tenants/top?user_id={asked}", None, key, _SHORT_S)

    def is_admins(self, server: Server, token: str) -> bool:
        """Return whether a server takes a token for an admin's of every user.

        Raises:
            NotAnswered: there was no answer, the token must not be shown, or the server asks nobody who
                they are, so what it answers proves nothing.
        """
        if self._secrets is None:
            raise NotAnswered("a token is shown only to servers of a fleet with TENANTRY_FLEET_SECRET")
        path = "/tenants/top?limit=1"
        if self._ask(server, "GET", path, None, None, _SHORT_S).status != 401:
            raise NotAnswered(f"{server.server_id} runs without TENANTRY_AUTH=required")
        return self._ask(server, "GET", path, None, token, _SHORT_S).status == 200

    def predict(
        self, server: Server, user_id: str, body: bytes, key: str | None, *, forecast: bool = False
    ) -> Reply:
        """Ask for one prediction, or for a forecast."""
        path = f"/{'forecast' if forecast else 'predict'}/{_named(user_id)}"
        return self._ask(server, "POST", path, body, key, _LONG_S)

    def _ask(
        self, server: Server, method: str, path: str, body: bytes | None, key: str | None, within_s: float
    ) -> Reply:
        """Send one request.

        Raises:
            NotAnswered: there was no answer, or the key must not be shown.
        """
        headers = {"Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            if self._secrets is not None:
                self._require_proof(server, self._secrets)
                if key is not None:
                    headers["Authorization"] = f"Bearer {key}"
            return self._sent(server.endpoint, method, path, body, headers, within_s)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotAnswered(
                f"{server.server_id} did not answer: {error or type(error).__name__}"
            ) from None

    def _require_proof(self, server: Server, secrets: FleetSecrets) -> None:
        asked = proofs.challenge()
        answer = self._challenge(server.endpoint, proofs.PATH + asked)
        if not proofs.known(secrets.accepted, server.server_id, server.endpoint, asked, answer.strip()):
            raise NotAnswered(
                f"{server.server_id} is not asked, as it does not prove that it is of this fleet; "
                "give operator and servers one TENANTRY_FLEET_SECRET"
            )

    def _sent(
        self,
        endpoint: str,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        within_s: float,
    ) -> Reply:
        began_s = time.monotonic()
        connection = self._connection(endpoint, within_s)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            read, is_whole = _read(answer, began_s + within_s)
            said = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, said, read, time.monotonic() - began_s, is_whole)
        finally:
            connection.close()

    def _connection(self, endpoint: str, within_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{endpoint!r} is not an HTTP endpoint")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if self._tls.secures(parts.scheme):
            context = self._tls.client()
            return http.client.HTTPSConnection(parts.hostname, port, timeout=within_s, context=context)
        return http.client.HTTPConnection(parts.hostname, port, timeout=within_s)


def order(servers: Sequence[Server], owner: str | None) -> list[Server]:
    """Return the servers to ask for a user, the owner of its shard first; only those whose lease holds."""
    live = [server for server in servers if server.live]
    return sorted(live, key=lambda server: (server.server_id != owner, server.report.leaving))


def _named(user_id: str) -> str:
    if not _USER.fullmatch(user_id):
        raise NotAnswered(f"{user_id!r} is not a user id that a server can be asked for")
    return user_id


def _read(answer: http.client.HTTPResponse, until_s: float) -> tuple[bytes, bool]:
    """Read a bounded part of a body, in bounded time; and say whether that was all."""
    pieces: list[bytes] = []
    left = _MOST_BYTES
    while left > 0:
        piece = answer.read1(min(_CHUNK_BYTES, left))
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        left -= len(piece)
        if time.monotonic() > until_s:
            raise TimeoutError("its answer took too long")
    return b"".join(pieces), False
