"""Tells the operator which models in force this server can't load, and tries them again.

Every load of this server counts: of a request, of one that a peer passed on, of prewarming. A model that
nobody asks for is not known to be broken. The rows of a server stay when it ends. When it is back, it tries
those models first; where it does not come back, the owners of the shards do.

A store that does not answer is not a fault, nor is a server without memory or workers: Ready must not be
taken back from ten thousand tenants because of two seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable

import structlog

from tenantry.errors import (
    ModelCrashed,
    ModelQuarantined,
    RegistryUnavailable,
    SignatureRefused,
)
from tenantry.processes.logs import OnChange
from tenantry.registry import Fault, FaultBook, FaultState
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.shards import suspects
from tenantry_server.shards.skews import Skews
from tenantry_server.shards.suspects import Suspect

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_PARALLEL = 2  # loads of broken models at once: those of requests come first
_PAUSE_S = 0.25  # after each, so that ten thousand of them are not a storm
_TURNS = (ModelCrashed.reason, ModelQuarantined.reason)  # of one model by turns: the first one said stands


class Faults:
    """Models in force that can't be loaded here; used on the event loop.

    Args:
        book: the table of faults.
        table: who has which model.
        models: the model cache.
        load: loads a model into it.
        server_id: this server's.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Attributes:
        live: the servers whose lease holds; None: not read yet.
    """

    def __init__(
        self,
        book: FaultBook,
        table: RoutingTable,
        models: CachedModelRepository,
        load: Callable[[str], Awaitable[Resident]],
        *,
        server_id: str,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._table = table
        self._models = models
        self._load = load
        self._server_id = server_id
        self._clock_s = clock_s
        self.live: Collection[str] | None = None
        self._suspects: dict[str, Suspect] = {}  # by model id
        self._rows: list[Fault] = []  # of all servers, as last read
        self._loaded: set[str] = set()  # since the last exchange
        self._skews = Skews(table, server_id)
        self._loss = OnChange(log)

    def load_ended(self, model_id: str, error: BaseException | None) -> None:
        """Take note of how a load of this server ended."""
        if error is None:
            self._suspects.pop(model_id, None)
            self._loaded.add(model_id)
            return
        suspect = suspects.after(error, self._suspects.get(model_id), self._clock_s())
        if suspect is not None:
            self._suspects[model_id] = suspect

    def skewed(self, model_id: str, words: str) -> None:
        """Take note of a model that answers, and was made with another version of its library."""
        self._skews.add(model_id, words)

    def verify_again(self, model_ids: Iterable[str]) -> None:
        """Load these soon, and what had no accepted signature: other signers are trusted now."""
        now_s = self._clock_s()
        for suspect in self._suspects.values():
            if isinstance(suspect.error, SignatureRefused):
                suspect.due_s = now_s
        for model_id in model_ids:
            self._suspects.setdefault(model_id, suspects.adopted(now_s))

    async def run(self) -> None:
        """Work until cancelled; where the registry does not answer, later."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_PARALLEL):
                group.create_task(self._retry())
            while True:
                try:
                    await self.exchange()
                except RegistryUnavailable as error:
                    self._loss.warning("faults are not exchanged", error=str(error))
                else:
                    self._loss.over("faults are exchanged again")
                await asyncio.sleep(_EVERY_S)

    async def exchange(self) -> None:
        """Write what is broken here, and remove what is not any more.

        Raises:
            RegistryUnavailable: it did not answer; the next exchange does the same.
        """
        rows = await asyncio.to_thread(self._book.news)
        if rows is not None:
            self._rows = rows
        if not self._table.was_read or self.live is None:
            return
        loaded, self._loaded = self._loaded, set()
        over = self._over(loaded)
        broken = self._broken(over) + self._skews.news(row for row in self._rows if self._is_charge(row))
        if not broken and not over:
            return
        try:
            await asyncio.to_thread(self._book.write, broken, over)
        except RegistryUnavailable:
            self._loaded |= loaded
            self._skews.not_written()
            raise
        for fault in broken:
            if fault.state is FaultState.DOUBTED:
                continue
            log.warning(
                "a model in force can't be loaded",
                user=fault.user_id,
                model=fault.model_id,
                reason=fault.reason,
                error=fault.message,
            )
        gone = {(fault.user_id, fault.server_id) for fault in over}
        self._rows = [row for row in self._rows if (row.user_id, row.server_id) not in gone] + broken

    def _over(self, loaded: Collection[str]) -> list[Fault]:
        """Return the rows to remove; those that stand are tried again."""
        over = []
        for row in self._rows:
            if not self._is_charge(row):
                continue
            assignment = self._table.get(row.user_id)
            in_force = assignment is not None and assignment.model_id == row.model_id
            if row.state is FaultState.DOUBTED:
                if not in_force or not self._skews.still_stands(row):
                    over.append(row)
            elif not in_force or row.model_id in loaded or row.model_id in self._models:
                over.append(row)
            elif row.model_id not in self._suspects:
                now_s = self._clock_s()
                self._suspects[row.model_id] = suspects.adopted(now_s)
            elif row.server_id != self._server_id and self._suspects[row.model_id].confirmed:
                over.append(row)  # this server says so itself from now on
        return over

    def _is_charge(self, row: Fault) -> bool:
        """Return whether this server has to look after a row: its own, or one of a server that is gone."""
        if row.server_id == self._server_id:
            return True
        gone = self.live is not None and row.server_id not in self.live
        return gone and self._table.owner_of(row.user_id) == self._server_id

    def _broken(self, over: Collection[Fault]) -> list[Fault]:
        """Return the faults to write, and forget what failed and is in force for nobody."""
        if not self._suspects:
            return []
        ended = {(row.user_id, row.server_id) for row in over}
        mine = {
            (row.user_id, row.model_id): row.reason
            for row in self._rows
            if row.server_id == self._server_id
            and (row.user_id, row.server_id) not in ended
            and row.state is not FaultState.DOUBTED
        }
        broken, in_force = [], set()
        for user_id, model_id in self._table.assigned().items():  # only while something is broken
            suspect = self._suspects.get(model_id or "")
            if suspect is None or model_id is None:
                continue
            in_force.add(model_id)
            error = suspect.error
            if error is None or not suspect.confirmed:
                continue
            said = mine.get((user_id, model_id))
            if said == error.reason or said in _TURNS:
                continue
            broken.append(
                Fault(
                    user_id,
                    self._server_id,
                    model_id,
                    error.reason,
                    str(error),
                    FaultState.RETRYING if error.retryable else FaultState.STALLED,
                    time.time(),
                )
            )
        self._suspects = {key: each for key, each in self._suspects.items() if key in in_force}
        return broken

    async def _retry(self) -> None:
        """Try broken models again, those first that are overdue for longest."""
        while True:
            await asyncio.sleep(_PAUSE_S if self._suspects else _EVERY_S)
            now_s = self._clock_s()
            due = [(each.due_s, key) for key, each in self._suspects.items() if each.due_s <= now_s]
            if not due:
                continue
            _, model_id = min(due)
            self._suspects[model_id].due_s = now_s + suspects.LAST_RETRY_S  # nobody else takes it meanwhile
            try:
                await self._load(model_id)
            except Exception as error:
                # A loader is a stranger's code and may raise anything; `load_ended` has heard of it.
                log.debug("still broken", model=model_id, error=str(error))
