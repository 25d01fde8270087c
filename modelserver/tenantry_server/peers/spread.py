"""Passes on parts of a batch: the rows of users that other servers hold, in one request for each of them.

Owns whom to ask for which user, and the request as it is sent. A part that a server does not answer is a
reason to ask the next one, two at most, and then this server answers: as of single requests.
"""

import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from random import getrandbits

from tenantry.errors import LeaseLost
from tenantry_server.access.hops import Hops
from tenantry_server.peers import choice
from tenantry_server.peers.answers.answer import PeerAnswer, PeerLost
from tenantry_server.peers.answers.forms import Form
from tenantry_server.peers.choice import Ask, Route
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.quotas.quotas import Left
from tenantry_server.wire import headers

_PATIENCE_S = 0.2  # for an answer to arrive that a peer gives at the last moment


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask.

    Attributes:
        peer_id: a server.
        fresh: only if its lease holds.
    """

    peer_id: str
    fresh: bool


@dataclass(slots=True)
class Part:
    """A request with some rows of a batch.

    Attributes:
        target: path and query.
        body: JSON.
        ends_s: when an answer is no longer of use, of `time.monotonic`.
        wants_fresh: whether the client wants no answer of a server whose lease is over.
        lost: the peer, where it was lost while it may have worked on the rows.
    """

    target: str
    body: bytes
    ends_s: float
    wants_fresh: bool = False
    lost: set[str] = field(default_factory=set)


class Spread:
    """Asks other servers for the rows of their users.

    Args:
        view: this server among the others.
        directory: the others.
        hops: proves to them that this server asks; None: nothing does.
        may_hold_up: whether a server may fall silent because of a row.
        passed_on: called with each user whose rows a peer has answered.
    """

    def __init__(
        self,
        view: FleetView,
        directory: Directory,
        *,
        hops: Hops | None = None,
        may_hold_up: bool = False,
        passed_on: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._view = view
        self._directory = directory
        self._hops = hops
        self._may_hold_up = may_hold_up
        self._passed_on = passed_on

    @property
    def alone(self) -> bool:
        """Whether there is no other server."""
        return not self._directory.peers

    @property
    def lease_held(self) -> bool:
        """Whether this server's knowledge is fresh."""
        return self._view.lease_held

    def passed_on(self, user_id: str) -> None:
        """Take note that a peer has answered rows of a user; of limited users no server keeps a copy."""
        if self._view.left(user_id) is Left.UNLIMITED:
            self._passed_on(user_id)

    def target_of(self, user_id: str, tried: Collection[str], *, wants_fresh: bool) -> Target | None:
        """Return the server to ask for a user's rows; None: this server answers.

        Args:
            tried: servers that could not answer.
        """
        if len(tried) >= choice.MAX_PEERS:
            return None
        question = choice.Request(user_id, wants_fresh=wants_fresh, draw=getrandbits(32))
        route: Route = choice.choose(question, self._view)
        while isinstance(route, Ask):
            for peer_id in route.peers:
                peer = self._directory.peers.get(peer_id)
                if peer is not None and peer.usable and peer_id not in tried:
                    return Target(peer_id, route.fresh or wants_fresh)
            route = route.then
        return None

    async def ask(self, target: Target, part: Part) -> PeerAnswer | None:
        """Send a part; return its answer with status 200, or None: ask somebody else."""
        peer = self._directory.peers.get(target.peer_id)
        if peer is None or not peer.usable:
            return None
        sent = _Sent(part, self._directory.server_id, self._hops, fresh=target.fresh)
        sent.may_hold_up = self._may_hold_up
        try:
            answer = await peer.ask(sent)
        except PeerLost:
            part.lost |= sent.lost
            return None
        if answer.reason == LeaseLost.reason:
            peer.lease_over()
        return answer if answer.status == 200 else None

    def broke(self, target: Target, problem: str) -> None:
        """Take note that a server's answer is not one to the part that it was sent."""
        peer = self._directory.peers.get(target.peer_id)
        if peer is not None:
            peer.broke(problem)


class _Sent:
    """A part as a request to a peer, and its own body."""

    is_whole = True
    may_hold_up = False
    method = "POST"
    trace = b""

    def __init__(self, part: Part, server_id: str, hops: Hops | None, *, fresh: bool) -> None:
        self._part = part
        self._form = Form(part.target.encode())
        self._server_id = server_id
        self._hops = hops
        self._fresh = fresh
        self.body = self
        self.lost: set[str] = set()
        self.ends_s = part.ends_s + _PATIENCE_S

    def now(self) -> bytes:
        return self._part.body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._part.body

    def check(self, answer: PeerAnswer) -> None:
        self._form.check(answer)

    def head_for(self, host: bytes) -> bytes:
        target, length = self._part.target.encode(), b"%d" % len(self._part.body)
        proof = b"" if self._hops is None else self._hops.line(host, b"POST", target, length)
        left_ms = max(1, int((self._part.ends_s - time.monotonic()) * 1e3))
        lines = f"{headers.HOP}: {self._server_id}\r\n{headers.TIMEOUT_MS}: {left_ms}\r\n"
        if self._fresh:
            lines += f"{headers.FRESH}: required\r\n"
        return b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n%b%b%b%b: %b\r\n\r\n" % (
            *(target, host, lines.encode(), self.trace, proof),
            *(b"Content-Length", length),
        )
