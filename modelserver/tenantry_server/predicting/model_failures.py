"""Logs which model failed, for whom and where in its code: once a minute for each model."""

import contextlib
import time
from collections.abc import Callable

import structlog

from tenantry import TenantryError
from tenantry.errors import PredictionFailed
from tenantry_server.scoring import tracebacks

log = structlog.get_logger(__name__)

_EVERY_S = 60.0
_MODELS = 256  # that are told apart; the failures of others are counted


class ModelFailures:
    """Failures of models, as requests meet them.

    Args:
        model_id_of: returns which model answers for a user, where the error does not say; None: not known.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Example:
        >>> from structlog.testing import capture_logs
        >>> with capture_logs() as lines:
        ...     failures = ModelFailures(lambda user_id: f"file:///{user_id}.joblib")
        ...     for _ in range(3):
        ...         failures.add("ann", PredictionFailed("Sum raised ValueError: not 7"))
        >>> [(line["user"], line["model"], line["error"]) for line in lines]
        [('ann', 'file:///ann.joblib', 'PredictionFailed')]
    """

    def __init__(
        self, model_id_of: Callable[[str], str | None], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._model_id_of = model_id_of
        self._clock_s = clock_s
        self._logged_s: dict[str, float] = {}  # the oldest first
        self._not_logged: dict[str, int] = {}
        self._others = 0  # not logged, of models that are not among these

    def add(self, user_id: str | None, error: TenantryError) -> None:
        """Log a request that failed, or count it where its model was logged less than a minute ago."""
        model_id = error.model_id or self._asked(user_id) or "unknown"
        now_s = self._clock_s()
        if now_s - self._logged_s.get(model_id, -_EVERY_S) < _EVERY_S:
            self._not_logged[model_id] = self._not_logged.get(model_id, 0) + 1
            return
        self._forget_old(now_s)
        if model_id not in self._logged_s and len(self._logged_s) >= _MODELS:
            self._others += 1
            return
        self._logged_s.pop(model_id, None)
        self._logged_s[model_id] = now_s
        others, self._others = self._others, 0
        log.warning(
            "a model failed",
            user=user_id,
            model=model_id,
            error=_words(error),
            traceback=_traceback(error),
            not_logged=self._not_logged.pop(model_id, 0),
            not_logged_of_others=others,
        )

    def _asked(self, user_id: str | None) -> str | None:
        with contextlib.suppress(TenantryError):
            return None if user_id is None else self._model_id_of(user_id)
        return None

    def _forget_old(self, now_s: float) -> None:
        """Make room: what was not logged of a model that has failed no more is told with the next line."""
        while len(self._logged_s) >= _MODELS:
            model_id, logged_s = next(iter(self._logged_s.items()))
            if now_s - logged_s < _EVERY_S:
                return
            del self._logged_s[model_id]
            self._others += self._not_logged.pop(model_id, 0)


def _words(error: TenantryError) -> str:
    """Return what to log of an error: what a model raises may quote a row, for the client alone."""
    return error.reason if isinstance(error, PredictionFailed) else str(error)


def _traceback(error: TenantryError) -> str:
    """Return where the model raised; empty where it ended its process, which has no traceback."""
    if not isinstance(error, PredictionFailed):
        return ""
    return error.traceback or tracebacks.text(tracebacks.of(error.__cause__ or error))
