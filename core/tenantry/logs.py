"""Structured logs on standard error: JSON lines, or coloured text where a person is watching."""

import logging
import sys

import structlog


def configure(level: str, *, process: str = "") -> None:
    """Set up logging of this process, the standard library's included.

    Args:
        level: debug, info, warning or error; requests are logged at debug.
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
    handler = logging.StreamHandler()
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


def _named(process: str) -> structlog.typing.Processor:
    """Adds the name to every line, of whichever thread."""

    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **event}

    return add
