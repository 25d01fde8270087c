"""Structured logs on standard error: JSON lines, or coloured text where a person is watching."""

import json
import logging
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import structlog

_MINUTE_S = 60.0


def configure(level: str, *, process: str = "") -> None:
    """Set up logging of this process, the standard library's included.

    Args:
        level: debug, info, warning or error.
        process: the name of this process among several that share a terminal.
    """
    person = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        *([_named(process)] if process else []),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if person else "iso", utc=not person),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer()
    )
    handler = _Lines(process=process, person=person)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if person else [structlog.processors.format_exc_info]),
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("botocore", "boto3", "urllib3", "alembic", "asyncio", "watchfiles"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Lines(logging.StreamHandler[Any]):
    """Writes to standard error.

    Args:
        process: its name on every line; empty: none.
        person: whether a person is watching.
    """

    def __init__(self, *, process: str, person: bool) -> None:
        super().__init__()
        self.person = person
        self.common = {"process": process} if process else {}

    def write(self, text: str) -> None:
        """Write a whole line."""
        with self.lock or nullcontext():
            self.stream.write(text)
            self.stream.flush()


def quick_writer(event: str) -> Callable[[Mapping[str, object]], None]:
    """Return what writes lines of this event as `configure` set them up, whatever the level.

    For one line a request: this takes 14 us a line, and `structlog` 54.
    """
    lines = next((each for each in logging.getLogger().handlers if isinstance(each, _Lines)), None)
    if lines is None or lines.person:
        log = structlog.get_logger(f"tenantry.{event}")
        logging.getLogger(f"tenantry.{event}").setLevel(logging.INFO)
        return lambda fields: log.info(event, **fields)

    def write(fields: Mapping[str, object]) -> None:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = {**lines.common, **fields, "event": event, "level": "info", "timestamp": now}
        lines.write(json.dumps(line) + "\n")

    return write


class OnChange:
    """Logs what was seen, once until it changes: a state that lasts must not fill the log.

    Args:
        log: where it is logged.

    Example:
        >>> from structlog.testing import capture_logs
        >>> with capture_logs() as lines:
        ...     registry = OnChange(structlog.get_logger())
        ...     for _ in range(3):
        ...         registry.warning("registry lost", error="no route to host")
        ...     registry.over("registry found again")
        ...     registry.over("registry found again")
        >>> [line["event"] for line in lines]
        ['registry lost', 'registry found again']
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._last: Hashable = None

    def info(self, event: str, *, key: Hashable = None, **fields: Any) -> None:
        """Log at info, unless it was logged last here."""
        self._once(self._log.info, event, key, fields)

    def warning(self, event: str, *, key: Hashable = None, **fields: Any) -> None:
        """Log at warning, unless it was logged last here.

        Args:
            key: what has to differ for another line; None: the event.
        """
        self._once(self._log.warning, event, key, fields)

    def error(self, event: str, *, key: Hashable = None, **fields: Any) -> None:
        """Log at error, unless it was logged last here."""
        self._once(self._log.error, event, key, fields)

    def over(self, event: str | None = None, **fields: Any) -> None:
        """End the state; log `event` at info if one was logged before."""
        if self._last is not None and event is not None:
            self._log.info(event, **fields)
        self._last = None

    def _once(self, write: Callable[..., Any], event: str, key: Hashable, fields: dict[str, Any]) -> None:
        seen = (event, key)
        if seen != self._last:
            self._last = seen
            write(event, **fields)


class OnceAMinute:
    """Counts what others do wrong, and logs it once a minute: no stranger fills the log.

    Args:
        log: where it is logged.
        event: what is logged.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Example:
        >>> from structlog.testing import capture_logs
        >>> with capture_logs() as lines:
        ...     broken = OnceAMinute(structlog.get_logger(), "broken answers")
        ...     for _ in range(3):
        ...         broken.warning(peer="server-1")
        >>> [(line["event"], line["count"]) for line in lines]
        [('broken answers', 1)]
    """

    def __init__(self, log: Any, event: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._event = event
        self._clock_s = clock_s
        self._logged_s = float("-inf")
        self._count = 0

    def warning(self, **fields: Any) -> None:
        """Count one; log how many there were since the last line, where that was a minute ago."""
        self._count += 1
        now_s = self._clock_s()
        if now_s - self._logged_s >= _MINUTE_S:
            self._log.warning(self._event, count=self._count, **fields)
            self._logged_s, self._count = now_s, 0


def _named(process: str) -> structlog.typing.Processor:
    """Add the name of the process to every line."""

    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **event}

    return add
