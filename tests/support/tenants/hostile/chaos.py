"""What a hostile tenant may do to a fleet, drawn by chance."""

import random
import socket
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from tests.support.tenants.hostile.models import EndsOnLoad, HeldUp, Leaks, Misbehaves
from tests.support.tenants.hostile.site import Site

USERS = tuple(f"chaos-{number}" for number in range(6))
LEAKING = "chaos-leaks"
_REPUBLISHED = "chaos-republished"
_DEEDS = (
    "exit",
    "sys_exit",
    "segfault",
    "abort",
    "fork",
    "fork_and_return",
    "start_threads",
    "close_descriptors",
    "print",
    "flood",
    "hang",
    "recurse",
    "raise",
    "change_everything",
    "kill_parent",
    "scribble",
    "nothing",
)
_BODIES = (
    b"",
    b"{",
    b"[[[[" * 10_000,
    b'[{"do": NaN}]',
    b'[{"do": "nothing", "do": "exit"}]',
    b'{"instances": [[1e999]]}',
    b'[{"' + b"x" * 100_000 + b'": 1}]',
    b"\xff\xfe\x00" * 1000,
    b"[" + b'{"do": "nothing"},' * 5000 + b'{"do": "nothing"}]',
)


class Chaos:
    """Draws deeds; the same seed draws the same.

    Args:
        seed: of the draws.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._kinds: list[Callable[[], None]] = [self._predict] * 12 + [self._leak] * 2
        self._kinds += [self._send_nonsense] * 4 + [self._publish, self._begin]

    def publish(self) -> None:
        """Declare the tenants that the deeds are of."""
        for user_id in USERS:
            self._site.publish(user_id, Misbehaves())
        self._site.publish(LEAKING, Leaks())
        for user_id in (*USERS, LEAKING):
            self._site.up.until_settled(user_id, "Ready")

    def act(self) -> None:
        """Do one thing that no tenant should; whatever comes of it for this tenant is right."""
        with suppress(OSError):  # a connection that the server closes
            self._random.choice(self._kinds)()

    def _predict(self) -> None:
        user_id, deed = self._random.choice(USERS), self._random.choice(_DEEDS)
        self._site.up.predict(user_id, [{"do": deed}], self._url())

    def _leak(self) -> None:
        for number in range(10):
            self._site.up.predict(LEAKING, [{"x": number}], self._url())

    def _send_nonsense(self) -> None:
        self._site.up.predict(self._random.choice(USERS), self._random.choice(_BODIES), self._url())

    def _publish(self) -> None:
        models = (EndsOnLoad(7), EndsOnLoad(None), HeldUp(Misbehaves(), self._site.shared), Misbehaves())
        self._site.publish(_REPUBLISHED, self._random.choice(models))

    def _begin(self) -> None:
        """Begin a body, and leave."""
        url = urlsplit(self._url())
        with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
            connection.sendall(b"POST /predict/ridge HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n[")

    def _url(self) -> str:
        return self._random.choice(self._site.up.servers())
