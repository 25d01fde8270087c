"""What models did to workers elsewhere: read from the registry, and written there.

A server need not lose workers to a model that ended those of another, nor to one that did so before it
restarted.
"""

import asyncio
import time
from secrets import token_hex

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.processes.logs import OnChange
from tenantry.registry import ServerRegistry, StrikeReport
from tenantry_server.workers.strikes import WINDOW_S, Strikes

log = structlog.get_logger(__name__)

_EVERY_S = 2.0


class StrikeExchange:
    """Keeps this process's strikes in step with those of all servers.

    Args:
        registry: this server's view.
        strikes: what the workers' pool goes by.
    """

    def __init__(self, registry: ServerRegistry, strikes: Strikes) -> None:
        self._book = registry.strikes
        self._strikes = strikes
        self._writer = f"{registry.server_id} {token_hex(4)}"
        self._known: set[int] = set()  # rows that were counted
        self._loss = OnChange(log)

    async def run(self) -> None:
        """Exchange until cancelled; where the registry does not answer, later."""
        while True:
            try:
                await self.exchange()
            except RegistryUnavailable as error:
                self._loss.warning("strikes are not exchanged", error=str(error))
            else:
                self._loss.over("strikes are exchanged again")
            await asyncio.sleep(_EVERY_S)

    async def exchange(self) -> None:
        """Write what is new here, and count what is new there.

        Raises:
            RegistryUnavailable: it did not answer; what is new here is kept.
        """
        now_s = time.monotonic()
        new = self._strikes.take_new()
        reports = [
            StrikeReport(strike.model_id, strike.how, now_s - strike.at_s, writer=self._writer)
            for strike in new
        ]
        try:
            if reports:
                await asyncio.to_thread(self._book.write, reports)
        except RegistryUnavailable:
            self._strikes.put_back(new)
            raise
        rows = await asyncio.to_thread(self._book.within, WINDOW_S)
        for row in rows:
            if row.number not in self._known and row.writer != self._writer:
                self._strikes.learn(row.model_id, row.how, now_s - row.age_s)
        self._known = {row.number for row in rows}
