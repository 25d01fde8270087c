"""Loads that failed: no request tries them again before their time."""

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

from tenantry import TenantryError
from tenantry.processes import backoff
from tenantry.processes.runtime import boot_clock_s

_FIRST_S = 0.5
_LAST_S = 30.0
_REMEMBERED = 10_000  # of the models that failed last; each holds an error message


@dataclass(slots=True)
class _Failure:
    error: TenantryError
    failures: int
    until_s: float


class LoadBackoff:
    """Remembers which loads failed, and when the next attempt is due; used by one thread.

    The wait doubles with each failure from 0.5 s to 30 s, with a jitter, so that a store that is
    back is not asked by all requests at once.

    Args:
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Example:
        >>> from tenantry.errors import ArtifactNotFound
        >>> backoff = LoadBackoff(clock_s=lambda: 100.0)
        >>> backoff.failed("s3://models/a.joblib", ArtifactNotFound("s3://models/a.joblib"))
        >>> backoff.check("s3://models/a.joblib")
        Traceback (most recent call last):
        tenantry.errors.artifacts.ArtifactNotFound: no artifact at s3://models/a.joblib; publish it there...
    """

    def __init__(self, *, clock_s: Callable[[], float] = boot_clock_s) -> None:
        self._clock_s = clock_s
        self._failures: LRUCache[str, _Failure] = LRUCache(maxsize=_REMEMBERED)

    def check(self, model_id: str) -> None:
        """Refuse an attempt that is not due yet.

        Raises:
            TenantryError: what the last try raised, with `retry_after_s` set.
        """
        failure = self._failures.get(model_id)
        if failure is None:
            return
        left_s = failure.until_s - self._clock_s()
        if left_s > 0:
            failure.error.retry_after_s = left_s
            raise failure.error.with_traceback(None)

    def failed(self, model_id: str, error: TenantryError) -> None:
        """Count a failure and wait longer than after the one before."""
        before = self._failures.get(model_id)
        failures = 1 if before is None else before.failures + 1
        wait_s = backoff.delay_s(failures, first_s=_FIRST_S, last_s=_LAST_S)
        error.retry_after_s = wait_s
        self._failures[model_id] = _Failure(error, failures, self._clock_s() + wait_s)

    def succeeded(self, model_id: str) -> None:
        """Forget what failed before."""
        self._failures.pop(model_id, None)
