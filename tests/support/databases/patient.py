"""Engines for tests that call the registry themselves, and don't try again where it was away."""

from typing import Any

from sqlalchemy import Engine, event

from tenantry.registry import open_engine


def open_patient(url: str) -> Engine:
    """Open an engine as the product does, whose transactions outlast a machine that stands still."""
    engine = open_engine(url)
    event.listen(engine, "do_connect", _outlast)
    return engine


def _outlast(_dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
    if "options" in options:  # of PostgreSQL
        options["options"] += " -c idle_in_transaction_session_timeout=0"
