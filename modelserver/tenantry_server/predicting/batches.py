"""Predictions for rows of many users: kernels of one kind together, everything else user by user.

A user's rows get the bits that a request of theirs alone gives, and what is wrong with one row or user is
an error of that row or user alone. No step holds the event loop for long: users are sorted a thousand at
a time, and kernels computed in a thread. Knows no HTTP, and no other server.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from tenantry import TenantryError
from tenantry.errors import ModelNotAssigned, RegistryUnavailable
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting import together
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.predicting.sorting import Found, Sorting, Users
from tenantry_server.predicting.together import Answers
from tenantry_server.rows.batch import AT_ONCE, Batch
from tenantry_server.scoring.calls import contained_in

_ROWS_HERE = 64  # are computed on the event loop: a thread costs as much
_AT_ONCE = 128  # other models; each has a lane of its own, workers have queues, and loads go in groups
_HELD_BYTES = 16 << 20  # of models that wait to be computed together
_T = TypeVar("_T")


class Batches:
    """Answers rows of many users; used on the event loop.

    Args:
        plane: answers for models that are not kernels in memory.
        users: from users to models.
        models: the models; kernels are taken from a CachedModelRepository alone.
        status_of: from an error to the HTTP status that it counts as.

    Attributes:
        sort: finds the users whose model is a kernel in memory; as `Sorting.sort`.
    """

    def __init__(
        self,
        plane: DataPlane,
        users: ModelInfoRepository,
        models: ModelRepository,
        status_of: Callable[[TenantryError], int] = lambda _: 500,
    ) -> None:
        self._plane = plane
        self._status_of = status_of
        cache = models if isinstance(models, CachedModelRepository) else None
        self.sort = Sorting(users, cache, plane.quotas).sort

    async def aside(self, call: Callable[[], _T], *, rows: int = AT_ONCE) -> _T:
        """Call in the thread for large requests, unless it is about few rows."""
        if rows <= _ROWS_HERE:
            return call()
        return await contained_in(self._plane.aside, call)

    async def compute(self, batch: Batch, found: Found, answers: Answers) -> None:
        """Answer the rows of kernels."""
        if not found.users:
            return
        counts = list(map(len, found.rows))
        rows = sum(counts)
        call = partial(together.compute, batch, found.residents, found.rows, answers)
        spent_s = await self.aside(call, rows=AT_ONCE if batch.wide else rows)
        self._plane.meter.spent_together(found.users, counts, spent_s / rows)

    async def ask_each(self, batch: Batch, users: Users, answers: Answers, *, timeout_s: float) -> None:
        """Answer the rows of other models, some users at a time.

        What becomes a kernel when it is loaded is computed together, `_HELD_BYTES` at a time, as the cache
        may have dropped them; any other model gets a call for each user. Users with limits are asked alone:
        one who is beyond them has no right to a load.
        """
        ends_s = time.monotonic() + timeout_s
        following = iter(users.items())
        limited = users.keys() if len(users) == 1 else set(self._plane.quotas.limited(list(users)))
        found, held_bytes = Found(), 0

        async def ask_some() -> None:
            nonlocal found, held_bytes
            for user_id, rows in following:
                began_s = time.monotonic()
                resident = None if user_id in limited else await self._kernel_of(user_id, ends_s - began_s)
                if resident is not None:
                    found.add(user_id, resident, rows)
                    held_bytes += resident.size_bytes
                    if held_bytes > _HELD_BYTES:
                        enough, found, held_bytes = found, Found(), 0
                        await self.compute(batch, enough, answers)
                    continue
                await self._ask_all(batch, user_id, rows, answers, ends_s)
                self._count(user_id, rows, answers, time.monotonic() - began_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(users))):
                group.create_task(ask_some())
        await self.compute(batch, found, answers)

    async def _kernel_of(self, user_id: str, timeout_s: float) -> Resident | None:
        """Return the user's model once it is loaded; None: it is not a kernel, or was not loaded."""
        try:
            async with asyncio.timeout(timeout_s):
                models = self._plane.models
                resident = await models.resident(user_id, await models.model_id_of(user_id))
        except Exception:
            return None
        return resident if resident.compiled else None

    async def _ask_all(
        self, batch: Batch, user_id: str, rows: Sequence[int], answers: Answers, ends_s: float
    ) -> None:
        try:
            await self._plane.models.model_id_of(user_id)
            with self._plane.quotas.entered(user_id, rows=len(rows)):
                for some in batch.calls(rows):
                    await self._ask(batch, user_id, some, answers, ends_s)
                    await asyncio.sleep(0)  # an answer may have taken no turn of the event loop
        except TenantryError as error:
            answers.refuse(rows, error)

    def _count(self, user_id: str, rows: Sequence[int], answers: Answers, seconds: float) -> None:
        """Count one request of a tenant, by its first error where there are several."""
        error = next((answers.errors[row] for row in rows if row in answers.errors), None)
        if isinstance(error, ModelNotAssigned | RegistryUnavailable):
            return  # nobody says that there is such a tenant
        status = self._status_of(error) if isinstance(error, TenantryError) else 500 if error else 200
        self._plane.meter.accounts.ended(user_id, status, seconds)

    async def _ask(
        self, batch: Batch, user_id: str, rows: Sequence[int], answers: Answers, ends_s: float
    ) -> None:
        try:
            takes_long = batch.wide or len(rows) > _ROWS_HERE
            payload = await self.aside(partial(batch.payload, rows), rows=AT_ONCE if takes_long else 1)
            left_s = max(0.0, ends_s - time.monotonic())
            given = await self._plane.predict(user_id, payload, timeout_s=left_s, counted=False)
            keep = partial(together.keep, batch, rows, given.predictions, answers)
            await self.aside(keep, rows=len(rows))
        except Exception as error:
            if len(rows) > 1 and together.is_of_a_row(error):
                for half in together.halves(rows):
                    await self._ask(batch, user_id, half, answers, ends_s)
            else:
                together.refuse(batch, rows, error, answers)
