"""A store that can't be reached is left alone for a moment: waiting for it holds up all other loads."""

import math
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from tenantry import ModelId
from tenantry.errors import ArtifactUnavailable
from tenantry.processes.runtime import boot_clock_s
from tenantry_server.artifacts.repositories import ArtifactRepository

log = structlog.get_logger(__name__)

_OPEN_S = 1.0


class CircuitBreaker(ArtifactRepository):
    """Reads from a store; once a bucket of it could not be reached, fails at once for a second.

    Then one read is tried in the background, and the others go on to fail until it has ended: nobody waits
    for a store that is known to be away. An answer of any kind, an error too, shows that it can be reached
    (Nygard, "Release It!", 2018, chapter 5). Safe to use from threads.

    Args:
        store: what is read from.
        clock_s: seconds, never going back; a parameter so that tests can move it.
    """

    def __init__(self, store: ArtifactRepository, *, clock_s: Callable[[], float] = boot_clock_s) -> None:
        self._store = store
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._open_until_s: dict[str, float] = {}  # of the buckets that are left alone

    def read(self, model_id: ModelId) -> bytes:
        """As the store does.

        Raises:
            ArtifactUnavailable: it could not be reached, now or a moment ago.
        """
        bucket = _bucket(model_id)
        if self._is_closed(bucket):
            return self._read(bucket, model_id)
        if self._trial_due(bucket):
            threading.Thread(target=self._try, args=(bucket, model_id), name="trial", daemon=True).start()
        detail = "it could not be reached a moment ago"
        refused = ArtifactUnavailable(model_id.uri, detail, tried=False)
        refused.retry_after_s = _OPEN_S
        raise refused

    def _read(self, bucket: str, model_id: ModelId) -> bytes:
        reached = True
        try:
            return self._store.read(model_id)
        except ArtifactUnavailable as error:
            reached = error.reached
            raise
        finally:
            self._tried(bucket, reached=reached)

    def _try(self, bucket: str, model_id: ModelId) -> None:
        with suppress(Exception):  # what comes of it is seen in the state
            self._read(bucket, model_id)

    def _is_closed(self, bucket: str) -> bool:
        with self._lock:
            return bucket not in self._open_until_s

    def _trial_due(self, bucket: str) -> bool:
        """True for one caller; nobody else is told so before its trial has ended."""
        with self._lock:
            due = self._clock_s() >= self._open_until_s.get(bucket, math.inf)
            if due:
                self._open_until_s[bucket] = math.inf
            return due

    def _tried(self, bucket: str, *, reached: bool) -> None:
        with self._lock:
            was_closed = bucket not in self._open_until_s
            if reached:
                self._open_until_s.pop(bucket, None)
            else:
                self._open_until_s[bucket] = self._clock_s() + _OPEN_S
        if was_closed and not reached:
            log.warning("the artifact store can't be reached; other servers are asked", bucket=bucket)
        elif reached and not was_closed:
            log.info("the artifact store is reached again", bucket=bucket)


def _bucket(model_id: ModelId) -> str:
    return model_id.uri.partition("://")[2].partition("/")[0]
