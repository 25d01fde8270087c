"""Whether a visitor's token is an admin's: model servers say it, as they alone know the issuer.

The operator has neither the issuer's keys nor a library of JWTs. A server is asked for what only an admin
of every user may read, and counts only if it refuses the same to a caller who shows nothing.
"""

import base64
import binascii
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256

from tenantry.errors import RegistryUnavailable
from tenantry.registry import Server
from tenantry_operator.ui.asking import Asker, NotAnswered, order

_KEPT_S = 30.0  # then servers are asked again: the issuer may have withdrawn its key
_MOST_KEPT = 1024
_MOST_ASKED = 3  # servers, one after the other
_AT_ONCE = 4  # strangers' tokens must not take every thread of the page
_WAIT_S = 2.0


class TokenJudge:
    """Judges tokens, and remembers for half a minute whose were an admin's.

    Args:
        servers: reads the servers of the registry.
        asker: asks one of them.
        clock_s: seconds since the epoch; a parameter so that tests can move it.
    """

    def __init__(
        self,
        servers: Callable[[], Sequence[Server]],
        asker: Asker,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._servers = servers
        self._asker = asker
        self._clock_s = clock_s
        self._until_s: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        self._asking = threading.BoundedSemaphore(_AT_ONCE)

    def __call__(self, token: str) -> bool:
        """Return whether a server takes this for an admin's of every user; False where none answers."""
        expires_s = _expires_s(token)
        now_s = self._clock_s()
        if expires_s <= now_s:
            return False
        digest = sha256(token.encode("utf-8", "replace")).digest()
        with self._lock:
            if self._until_s.get(digest, 0.0) > now_s:
                return True
        if not self._asked(token):
            return False
        with self._lock:
            self._until_s[digest] = min(expires_s, now_s + _KEPT_S)
            while len(self._until_s) > _MOST_KEPT:
                self._until_s.popitem(last=False)
        return True

    def _asked(self, token: str) -> bool:
        if not self._asking.acquire(timeout=_WAIT_S):
            return False
        try:
            for server in order(self._servers(), None)[:_MOST_ASKED]:
                try:
                    return self._asker.is_admins(server, token)
                except NotAnswered:
                    continue
        except RegistryUnavailable:
            return False
        finally:
            self._asking.release()
        return False


def _expires_s(token: str) -> float:
    """Return when what looks like a JWT says that it ends; 0: it does not look like one.

    Nothing is verified here: a server does that.

    Example:
        >>> _expires_s("e30.eyJleHAiOjE3MDB9.c2ln"), _expires_s("tnt_a_key")
        (1700.0, 0.0)
    """
    parts = token.split(".")
    if len(parts) != 3:
        return 0.0
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0.0
