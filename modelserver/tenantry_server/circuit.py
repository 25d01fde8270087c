"""A store that can't be reached is left alone for a moment: waiting for it holds up all other loads."""

import threading
from collections.abc import Callable

import structlog

from tenantry import ModelId
from tenantry.clock import boot_clock_s
from tenantry.errors import ArtifactUnavailable
from tenantry_server.repositories import ArtifactRepository

log = structlog.get_logger(__name__)

_CLOSED = float("-inf")
_OPEN_S = 1.0
_TRIAL_S = 60.0  # longer than any read of a store with bounded waits takes


class CircuitBreaker(ArtifactRepository):
    """Reads from a store; once that could not be reached, fails at once for a second.

    Then one read tries again, and the others go on to fail until it has ended. An answer of any kind, an
    error too, shows that the store can be reached (Nygard, "Release It!", 2018, chapter 5). Safe to use
    from threads.

    Args:
        store: what is read from.
        clock_s: seconds, never going back; a parameter so that tests can move it.
    """

    def __init__(self, store: ArtifactRepository, *, clock_s: Callable[[], float] = boot_clock_s) -> None:
        self._store = store
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._open_until_s = _CLOSED

    def read(self, model_id: ModelId) -> bytes:
        """As the store does.

        Raises:
            ArtifactUnavailable: it could not be reached, now or a moment ago.
        """
        if not self._admits():
            raise ArtifactUnavailable(model_id.uri, "it could not be reached a moment ago")
        reached = True
        try:
            return self._store.read(model_id)
        except ArtifactUnavailable as error:
            reached = error.reached
            raise
        finally:
            self._tried(reached=reached)

    def _admits(self) -> bool:
        with self._lock:
            now_s = self._clock_s()
            if now_s < self._open_until_s:
                return False
            if self._open_until_s != _CLOSED:
                self._open_until_s = now_s + _TRIAL_S
            return True

    def _tried(self, *, reached: bool) -> None:
        with self._lock:
            was_closed = self._open_until_s == _CLOSED
            self._open_until_s = _CLOSED if reached else self._clock_s() + _OPEN_S
        if was_closed and not reached:
            log.warning("the artifact store can't be reached; other servers are asked for cold models")
        elif reached and not was_closed:
            log.info("the artifact store is reached again")
