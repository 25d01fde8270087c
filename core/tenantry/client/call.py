"""One call: whom to ask next, and what may be asked again. Sends nothing; the clients do.

Asked again is what certainly ran no model: a request that was never sent, as no connection could be made,
and one that a server answered with 503 and Retry-After. A request whose connection broke after it was sent
may be what ended the server, and is not repeated.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenantry.client.answers import Reply
from tenantry.client.errors import AnswerLost, ClientError, DeadlineExceeded, NoServer
from tenantry.client.fleet import Fleet
from tenantry.client.questions import Question
from tenantry.processes import backoff

CONNECT_S = 1.0
"""For a connection to be made."""

_ROUNDS = 3  # over all servers, where none of them accepts a connection
_REPEATS = 3  # after 503
_MODELS_OWN = ("ModelNotReady", "ModelLoading", "MemoryTaken")  # no other server knows better
_NEVER_AGAIN = ("ModelQuarantined",)  # it ends processes: whether to try again is for a person to say
_FIRST_S, _LAST_S = 0.1, 1.0
_FOR_WORDS, _FOR_WORDS_S = 0.1, 0.5  # of the time, for the server's own words on it to arrive


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to do next.

    Attributes:
        url: base URL of the server to ask.
        wait_s: first.
        left_s: for the answer to arrive, once that is over.
        headers: of the request.
    """

    url: str
    wait_s: float
    left_s: float
    headers: Mapping[str, str]


class Call:
    """The way of one question.

    Args:
        timeout_s: for everything together.
        clock_s: seconds, never going back.

    Attributes:
        user_id: whom it is about.
    """

    def __init__(
        self,
        question: Question,
        fleet: Fleet,
        *,
        timeout_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._question = question
        self._fleet = fleet
        self._timeout_s = timeout_s
        self._clock_s = clock_s
        self._ends_s = clock_s() + timeout_s
        self.user_id = question.user_id
        self._order: list[str] = []
        self._place = 0
        self._rounds = self._repeats = 0
        self._wait_s = 0.0
        self._refusals: dict[str, str] = {}
        self._error: ClientError | None = None
        self.plan()

    def plan(self) -> None:
        """Choose whom to ask, by what is known now."""
        self._order, self._place = self._fleet.order(self.user_id), 0

    @property
    def left_s(self) -> float:
        """Seconds until the call is over; 0 where it is."""
        return max(0.0, self._ends_s - self._clock_s())

    def next(self) -> Attempt:
        """Return what to do next.

        Raises:
            ClientError: nothing is left to do, or no time.
        """
        left_s = self.left_s - self._wait_s
        if left_s <= 0:
            raise self._error or self.timed_out()
        limit_ms = max(1, int((left_s - min(_FOR_WORDS_S, left_s * _FOR_WORDS)) * 1e3))
        headers = {"Tenantry-Timeout-Ms": str(limit_ms), **self._question.headers}
        attempt = Attempt(self._order[self._place], self._wait_s, left_s, headers)
        self._wait_s = 0.0
        return attempt

    def not_sent(self, attempt: Attempt, why: object) -> None:
        """No connection could be made: ask the next server.

        Raises:
            NoServer: none accepts one.
        """
        self._fleet.refused(attempt.url)
        self._refusals[attempt.url] = str(why)
        self._place += 1
        if self._place < len(self._order):
            return
        self._rounds += 1
        words = "; ".join(f"{url}: {why}" for url, why in self._refusals.items())
        self._error = NoServer(f"no server accepts a connection: {words}")
        if self._rounds == _ROUNDS:
            raise self._error
        self.plan()
        self._wait_s = backoff.delay_s(self._rounds, first_s=_FIRST_S, last_s=_LAST_S)

    def lost(self, attempt: Attempt, why: object) -> None:
        """The connection broke before the whole answer was there.

        Raises:
            AnswerLost: the request may have run a model.
        """
        if self._question.body is None:
            self.not_sent(attempt, why)
            return
        raise AnswerLost(
            f"{attempt.url} closed the connection before it answered ({why}); the request is not repeated, "
            "as it may be what ended the server",
            server=attempt.url,
        )

    def timed_out(self) -> DeadlineExceeded:
        """Return the error of a call whose time is over."""
        server = self._order[min(self._place, len(self._order) - 1)]
        return DeadlineExceeded(f"no answer within {self._timeout_s:g} s", server=server)

    def answered(self, attempt: Attempt, reply: Reply) -> Reply | None:
        """Return the answer of the call; None: ask again.

        Raises:
            ClientError: the answer is an error.
        """
        self._fleet.answered(attempt.url, reply.headers.get("tenantry-shards"))
        if reply.status in (200, 304):
            return reply
        self._error = reply.error()
        wait_s = self._error.retry_after_s
        again = reply.status == 503 and wait_s is not None and self._error.reason not in _NEVER_AGAIN
        if not again or self._repeats == _REPEATS or (wait_s or 0.0) >= self.left_s:
            raise self._error
        self._repeats += 1
        self._wait_s = wait_s or 0.0
        if self._error.reason not in _MODELS_OWN:
            self._place = (self._place + 1) % len(self._order)
        return None
