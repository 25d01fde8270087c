"""Strikes of one server, known to all: written once, counted once, kept while no registry answers."""

from collections.abc import Sequence
from typing import cast

import pytest

from tenantry.errors import RegistryUnavailable
from tenantry.registry import ServerRegistry, StrikeReport
from tenantry_server.shards.strike_exchange import StrikeExchange
from tenantry_server.workers.strikes import Strikes


class Rows:
    """The rows of a registry, whose contract test covers the real one."""

    def __init__(self) -> None:
        self.rows: list[StrikeReport] = []
        self.answers = True

    def side(self, server_id: str) -> tuple[StrikeExchange, Strikes]:
        strikes = Strikes()
        view = cast("ServerRegistry", _View(self, server_id))
        return StrikeExchange(view, strikes), strikes


class _View:
    def __init__(self, rows: Rows, server_id: str) -> None:
        self._rows = rows
        self.server_id = server_id
        self.strikes = self

    def write(self, reports: Sequence[StrikeReport]) -> None:
        if not self._rows.answers:
            raise RegistryUnavailable
        for report in reports:
            number = len(self._rows.rows) + 1
            self._rows.rows.append(
                StrikeReport(report.model_id, report.how, report.age_s, number, report.writer)
            )

    def within(self, _: float) -> list[StrikeReport]:
        if not self._rows.answers:
            raise RegistryUnavailable
        return list(self._rows.rows)


async def test_three_strikes_on_three_servers_are_three_everywhere() -> None:
    rows = Rows()
    sides = [rows.side(f"server-{number}") for number in range(3)]
    for _, strikes in sides:
        strikes.add("model", "exit status 9", 1e9)
    for _ in range(2):
        for exchange, _ in sides:
            await exchange.exchange()
    assert len(rows.rows) == 3
    for _, strikes in sides:
        assert strikes.described() == {"model": {"count": 3, "latest": "exit status 9"}}
        assert strikes.wait_s("model", 0) > 0


async def test_a_server_that_restarts_remembers() -> None:
    rows = Rows()
    exchange, strikes = rows.side("server-0")
    strikes.add("model", "exit status 9", 0.0)
    await exchange.exchange()
    again, remembered = rows.side("server-0")
    await again.exchange()
    await again.exchange()
    assert remembered.described() == {"model": {"count": 1, "latest": "exit status 9"}}


async def test_what_no_registry_takes_is_written_later() -> None:
    rows = Rows()
    exchange, strikes = rows.side("server-0")
    strikes.add("model", "exit status 9", 0.0)
    rows.answers = False
    with pytest.raises(RegistryUnavailable):
        await exchange.exchange()
    rows.answers = True
    await exchange.exchange()
    await exchange.exchange()
    assert [row.model_id for row in rows.rows] == ["model"]
