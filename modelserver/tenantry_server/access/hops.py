"""Proofs that a request comes from a server of this fleet, which has authorised it.

A proof is an HMAC (RFC 2104) with the fleet's secret over the server that is asked, method, path, time and
length of the body. So a server can't use one that it got to ask another server. A proof does not cover the
body, so that a body need not have arrived before its head is sent on.
"""

import hmac
import time
from collections.abc import Callable
from typing import Any

from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server.wire import headers

_VALID_MS = 30_000  # clocks of a fleet differ by less; a proof that was overheard is worth nothing after it
_MOST_DIGITS = 15
_NAME = headers.PROOF.encode()


class Hops:
    """Signs requests to other servers, and checks those of others.

    Args:
        secrets: of the fleet; a text is one that stays.
        host: of this server, as peers reach it: host and port of its endpoint.
        clock_s: seconds since the epoch; a parameter so that tests can move it.
    """

    def __init__(
        self, secrets: FleetSecrets | str, host: str, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._secrets = FleetSecrets(secrets) if isinstance(secrets, str) else secrets
        self._host = host.encode()
        self._clock_s = clock_s

    def proof(self, host: bytes, method: bytes, target: bytes, length: bytes) -> bytes:
        """Return the value of the header for one request.

        Args:
            host: of the server that is asked, as its row in the registry has it.
            target: path and query, as they are sent.
            length: the value of Content-Length; `-` where there is none.
        """
        at = b"%d" % (self._clock_s() * 1e3)
        return b"%b %b" % (at, _mac(self._secrets.current, host, method, target, at, length))

    def line(self, host: bytes, method: bytes, target: bytes, length: bytes) -> bytes:
        """Return the header with a line break after it."""
        return b"%b: %b\r\n" % (_NAME, self.proof(host, method, target, length))

    def holds(self, method: bytes, target: bytes, length: bytes, proof: bytes) -> bool:
        """Return whether a server of this fleet has sent exactly this request just now."""
        at, _, mac = proof.partition(b" ")
        if not at.isdigit() or len(at) > _MOST_DIGITS:
            return False
        if abs(self._clock_s() * 1e3 - int(at)) > _VALID_MS:
            return False
        return any(
            hmac.compare_digest(_mac(secret, self._host, method, target, at, length), mac)
            for secret in self._secrets.accepted
        )


def _mac(*signed: Any) -> bytes:
    secret, *parts = signed
    return (
        hmac.digest(secret.encode(), b"tenantry hop\n%b\n%b %b\n%b\n%b" % tuple(parts), "sha256")
        .hex()
        .encode()
    )
