"""Predictions for rows of many users: kernels of one kind together, everything else user by user.

A user's rows get the bits that a request of theirs alone gives, and what is wrong with one row or user is
an error of that row or user alone. No step holds the event loop for long: users are sorted a thousand at
a time, and kernels computed in a thread. Knows no HTTP, and no other server.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

from tenantry import TenantryError
from tenantry.errors import ModelNotAssigned, RegistryUnavailable
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.resident import Resident
from tenantry_server.predicting import together
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.predicting.together import Answers
from tenantry_server.rows.batch import AT_ONCE, Batch
from tenantry_server.scoring.calls import contained_in

USERS_AT_ONCE = 1024
"""Users whose models are found in one turn of the event loop: at 1 us each, a millisecond."""

_USERS_FIRST = 64  # one that nobody knows takes thirty times as long
_ROWS_HERE = 64  # are computed on the event loop: a thread costs as much
_AT_ONCE = 128  # other models; each has a lane of its own, workers have queues, and loads go in groups
_HELD_BYTES = 16 << 20  # of models that wait to be computed together
_T = TypeVar("_T")

Users: TypeAlias = Mapping[str, Sequence[int]]
"""The rows of each user."""


@dataclass(slots=True)
class Found:
    """Users whose model is a kernel in memory, that model, and their rows; equally long."""

    users: list[str] = field(default_factory=list)
    residents: list[Resident] = field(default_factory=list)
    rows: list[Sequence[int]] = field(default_factory=list)

    def add(self, user_id: str, resident: Resident, rows: Sequence[int]) -> None:
        """Add one of them."""
        self.users.append(user_id)
        self.residents.append(resident)
        self.rows.append(rows)


class Batches:
    """Answers rows of many users; used on the event loop.

    Args:
        plane: answers for models that are not kernels in memory.
        users: from users to models.
        models: the models; kernels are taken from a CachedModelRepository alone.
        status_of: from an error to the HTTP status that it counts as.
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
        self._users = users
        self._models = models if isinstance(models, CachedModelRepository) else None
        self._thread = ThreadPoolExecutor(1, "batches")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def aside(self, call: Callable[[], _T], *, rows: int = AT_ONCE) -> _T:
        """Call in a thread, unless it is about few rows."""
        if rows <= _ROWS_HERE:
            return call()
        return await contained_in(self._thread, call)

    async def sort(
        self, users: Users, answers: Answers, *, counts_for_all: bool
    ) -> tuple[Found, list[str]]:
        """Return the users whose model is a kernel in memory, and the others.

        Who has no model is refused, and so is who is beyond a limit.

        Args:
            counts_for_all: whether this server counts also for users whose model others hold.
        """
        found = Found()
        others: list[str] = []
        following, at_once = iter(users), _USERS_FIRST
        while names := list(islice(following, at_once)):
            residents, refused = self._kernels_of(names)
            refused |= self._limited(names, residents, users, counts_for_all=counts_for_all)
            for user_id, error in refused.items():
                answers.refuse(users[user_id], error)
            if refused or not all(residents):
                for user_id, resident in zip(names, residents, strict=True):
                    if user_id in refused:
                        continue
                    if resident is None:
                        others.append(user_id)
                    else:
                        found.add(user_id, resident, users[user_id])
            else:
                found.users += names
                found.residents += residents  # type: ignore[arg-type]  # none of them is None
                found.rows += map(users.__getitem__, names)
            at_once = _USERS_FIRST if refused else min(2 * at_once, USERS_AT_ONCE)
            await asyncio.sleep(0)
        return found, others

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

    def _kernels_of(self, names: Sequence[str]) -> "tuple[list[Resident | None], dict[str, TenantryError]]":
        """Return the kernel in memory of each user, None for others; and why users have no model."""
        refused: dict[str, TenantryError] = {}
        if self._models is None:
            return [None] * len(names), refused
        known = self._users.peek_many(names)
        if known is None or not all(known):
            known = [
                self._peek(user_id, refused) if model_id is None else model_id
                for user_id, model_id in zip(names, known or [None] * len(names), strict=True)
            ]
            # No model has the empty name, which stands for one that is not known here.
            known = [model_id or "" for model_id in known]
        found = self._models.peek_many(known)  # type: ignore[arg-type]  # none of them is None
        return [each if each is not None and each.compiled else None for each in found], refused

    def _peek(self, user_id: str, refused: dict[str, TenantryError]) -> str | None:
        try:
            return self._users.peek(user_id)
        except TenantryError as error:
            refused[user_id] = error
            return None

    def _limited(
        self,
        names: Sequence[str],
        residents: "list[Resident | None]",
        users: Users,
        *,
        counts_for_all: bool,
    ) -> dict[str, TenantryError]:
        """Count the rows of those who have limits and a kernel here; return who is beyond one.

        Whose requests others count gets None in the place of the kernel.
        """
        quotas, refused = self._plane.quotas, {}
        limited = quotas.limited(names)
        if not limited:
            return {}
        places = {user_id: place for place, user_id in enumerate(names)}
        for user_id in limited:
            place = places[user_id]
            if residents[place] is None:
                continue
            if not counts_for_all and quotas.is_elsewhere(user_id):
                residents[place] = None
                continue
            try:
                quotas.take(user_id, rows=len(users[user_id]))
            except TenantryError as error:
                refused[user_id] = error
        return refused


def turns(users: Iterable[str]) -> Iterator[str | None]:
    """Yield users, and None where others are to have their turn."""
    for place, user_id in enumerate(users):
        if place and place % USERS_AT_ONCE == 0:
            yield None
        yield user_id
