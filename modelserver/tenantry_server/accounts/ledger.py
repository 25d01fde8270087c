"""What each tenant has cost, written to the registry at every full hour and when the server stops.

A server that dies loses what it has counted since the last full hour, so at most an hour. Where the
registry does not answer, the costs are kept and written later. Bytes in memory are read every five minutes:
a model that leaves between two readings counts until the second, one that comes counts from it on.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.processes.logs import OnChange
from tenantry.registry import Cost, CostBook
from tenantry.registry.costs import GROUP, OTHERS
from tenantry_server.accounts.account import Account
from tenantry_server.accounts.accounts import Accounts, Period

log = structlog.get_logger(__name__)

_READ_S = 300.0
_HOUR_S = 3600.0
_MOST = 200_000  # tenants that are kept until they can be written; 40 MB, and then others


class Ledger:
    """Turns the accounts' periods at full hours, and writes what each one has cost.

    Args:
        accounts: of this server.
        held: returns user id -> bytes of its model in memory, divided among those who share it; called in
            a thread.
        book: to write to.
        server_id: this server.
        clock_s: seconds since the epoch; a parameter so that tests can move it.
    """

    def __init__(
        self,
        accounts: Accounts,
        held: Callable[[], Mapping[str, float]],
        book: CostBook,
        *,
        server_id: str,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._held = held
        self._book = book
        self._server_id = server_id
        self._clock_s = clock_s
        self._read_s = clock_s()
        self._byte_s: dict[str, float] = {}  # of the period under way
        self._seen: Mapping[str, float] = {}  # bytes at the last reading
        self._owed: dict[date, dict[str, Cost]] = {}
        self._loss = OnChange(log)

    async def run(self) -> None:
        """Read the bytes in memory, turn and write, until cancelled."""
        while True:
            began_s = self._clock_s()
            hour_ends_s = (began_s // _HOUR_S + 1) * _HOUR_S
            await asyncio.sleep(min(_READ_S, hour_ends_s - began_s))
            await self.measure()
            if self._clock_s() >= hour_ends_s:
                await self.turn()

    async def measure(self) -> None:
        """Charge the bytes in memory since the last reading, and read them again."""
        now_s = self._clock_s()
        passed_s, self._read_s = max(0.0, now_s - self._read_s), now_s
        await asyncio.to_thread(self._charge, passed_s)

    async def turn(self) -> None:
        """Begin a new period, and write the one that ended, and those that could not be written before."""
        period, byte_s = self._accounts.turn(), self._byte_s
        self._byte_s = {}
        await asyncio.to_thread(self._write, period, byte_s)

    async def close(self) -> None:
        """Write what was counted so far: this server stops."""
        await self.measure()
        await self.turn()

    def _charge(self, passed_s: float) -> None:
        byte_s = self._byte_s
        for user_id, held_bytes in self._seen.items():
            known = user_id in byte_s or len(byte_s) < _MOST
            whose = user_id if known else OTHERS
            byte_s[whose] = byte_s.get(whose, 0.0) + held_bytes * passed_s
        self._seen = self._held()

    def _write(self, period: Period, byte_s: Mapping[str, float]) -> None:
        day = datetime.fromtimestamp(period.began_s, UTC).date()
        self._owe(day, period, byte_s)
        try:
            for owed_day in list(self._owed):
                self._pay(owed_day)
        except RegistryUnavailable as error:
            self._loss.warning("costs of tenants are not written; later", error=str(error))
        else:
            self._loss.over("costs of tenants are written again")

    def _owe(self, day: date, period: Period, byte_s: Mapping[str, float]) -> None:
        owed = self._owed.setdefault(day, {})
        nothing = Account()
        for user_id in period.tenants.keys() | byte_s.keys() | {OTHERS}:
            account = period.others if user_id == OTHERS else period.tenants.get(user_id, nothing)
            spent = Cost(
                user_id,
                account.requests,
                account.errors,
                account.cpu_s,
                byte_s.get(user_id, 0.0) / _HOUR_S,
            )
            if not (spent.requests or spent.cpu_s or spent.byte_hours):
                continue
            whose = user_id if user_id in owed or len(owed) < _MOST else OTHERS
            owed[whose] = _sum(whose, owed[whose], spent) if whose in owed else _sum(whose, spent)

    def _pay(self, day: date) -> None:
        """Write what is owed for a day, group by group; what was written is owed no more."""
        owed = self._owed[day]
        users = sorted(owed)
        for first in range(0, len(users), GROUP):
            some = users[first : first + GROUP]
            self._book.add(self._server_id, day, [owed[user_id] for user_id in some])
            for user_id in some:
                del owed[user_id]
        del self._owed[day]


def _sum(user_id: str, *costs: Cost) -> Cost:
    return Cost(
        user_id,
        sum(cost.requests for cost in costs),
        sum(cost.errors for cost in costs),
        sum(cost.cpu_s for cost in costs),
        sum(cost.byte_hours for cost in costs),
    )
