"""Tells the operator which models in force this server can't load, and tries them again.

Every load of this server counts: of a request, of one that a peer passed on, of prewarming. A model that
nobody asks for is not known to be broken. The rows of a server stay when it ends. When it is back, it tries
those models first; where it does not come back, the owners of the shards do.

A store that does not answer is not a fault, nor is a server without memory or workers: Ready must not be
taken back from ten thousand tenants because of two seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import structlog

from tenantry import TenantryError, backoff
from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactNotFound,
    ModelCrashed,
    ModelQuarantined,
    RegistryUnavailable,
)
from tenantry.logs import OnChange
from tenantry.registry import Fault, FaultBook
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.model_cache import CachedModelRepository, Resident

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 60.0
_PARALLEL = 2  # loads of broken models at once: those of requests come first
_PAUSE_S = 0.25  # after each, so that ten thousand of them are not a storm
_CONFIRMED_S = 2.0  # a folder that is mounted again, a file that is replaced
_DENIED_S = 30.0  # credentials that are being renewed
_TURNS = (ModelCrashed.reason, ModelQuarantined.reason)  # of one model by turns: the first one said stands


def confirmed_after_s(error: BaseException) -> float | None:
    """Return for how long a load has to fail like this until it is a fault; None: it never is.

    Example:
        >>> from tenantry.errors import ArtifactUnavailable
        >>> confirmed_after_s(ArtifactUnavailable("s3://models/a.joblib", "timeout")) is None
        True
        >>> confirmed_after_s(ArtifactNotFound("s3://models/a.joblib"))
        2.0
    """
    if isinstance(error, ModelQuarantined):
        return 0.0
    if isinstance(error, ArtifactAccessDenied):
        return _DENIED_S
    if not isinstance(error, TenantryError) or (
        error.retryable and not isinstance(error, ArtifactNotFound)
    ):
        return None
    return _CONFIRMED_S


@dataclass(slots=True)
class _Suspect:
    """A model whose load failed, and did not succeed since.

    Attributes:
        since_s: when it failed first in a way that may be a fault.
        due_s: when it is tried again.
        error: what it failed with last, if that may be a fault.
        confirmed: it failed for long enough.
    """

    since_s: float
    due_s: float
    error: TenantryError | None = None
    failures: int = 0
    confirmed: bool = False


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
        self._suspects: dict[str, _Suspect] = {}  # by model id
        self._rows: list[Fault] = []  # of all servers, as last read
        self._loaded: set[str] = set()  # since the last exchange
        self._loss = OnChange(log)

    def load_ended(self, model_id: str, error: BaseException | None) -> None:
        """Take note of how a load of this server ended."""
        if error is None:
            self._suspects.pop(model_id, None)
            self._loaded.add(model_id)
            return
        needed_s = confirmed_after_s(error)
        known = self._suspects.get(model_id)
        if known is None and needed_s is None:
            return
        now_s = self._clock_s()
        suspect = known or self._suspects.setdefault(model_id, _Suspect(now_s, now_s))
        suspect.failures += 1
        suspect.due_s = now_s + backoff.delay_s(
            suspect.failures, first_s=_FIRST_RETRY_S, last_s=_LAST_RETRY_S
        )
        if needed_s is not None and isinstance(error, TenantryError):
            suspect.error = error
            suspect.confirmed |= now_s - suspect.since_s >= needed_s

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
        broken = self._broken(over)
        if not broken and not over:
            return
        try:
            await asyncio.to_thread(self._book.write, broken, over)
        except RegistryUnavailable:
            self._loaded |= loaded
            raise
        for fault in broken:
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
            if not in_force or row.model_id in loaded or row.model_id in self._models:
                over.append(row)
            elif row.model_id not in self._suspects:
                now_s = self._clock_s()
                self._suspects[row.model_id] = _Suspect(now_s - _DENIED_S, now_s)
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
            if row.server_id == self._server_id and (row.user_id, row.server_id) not in ended
        }
        broken, in_force = [], set()
        for assignment in self._table:  # 10 ms for 100,000, and only while something is broken
            suspect = self._suspects.get(assignment.model_id or "")
            if suspect is None:
                continue
            model_id = str(assignment.model_id)
            in_force.add(model_id)
            error = suspect.error
            if error is None or not suspect.confirmed:
                continue
            said = mine.get((assignment.user_id, model_id))
            if said == error.reason or said in _TURNS:
                continue
            broken.append(
                Fault(
                    assignment.user_id,
                    self._server_id,
                    model_id,
                    error.reason,
                    str(error),
                    retrying=error.retryable,
                    at_s=time.time(),
                )
            )
        self._suspects = {key: each for key, each in self._suspects.items() if key in in_force}
        return broken

    async def _retry(self) -> None:
        """Try broken models again, those first that are overdue for longest."""
        while True:
            await asyncio.sleep(_PAUSE_S)
            now_s = self._clock_s()
            due = [(each.due_s, key) for key, each in self._suspects.items() if each.due_s <= now_s]
            if not due:
                continue
            _, model_id = min(due)
            self._suspects[model_id].due_s = now_s + _LAST_RETRY_S  # nobody else takes it meanwhile
            try:
                await self._load(model_id)
            except Exception as error:
                # A loader is a stranger's code and may raise anything; `load_ended` has heard of it.
                log.debug("still broken", model=model_id, error=str(error))
