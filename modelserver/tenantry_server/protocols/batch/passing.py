"""Answers a batch: what is known here here, and the rest by the servers that hold it, at the same time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from urllib.parse import quote

import orjson

from tenantry.errors import LeaseLost, ServersLost
from tenantry_server.peers.asking import FINAL
from tenantry_server.peers.sending.connection_pool import MAX_LOST
from tenantry_server.peers.spread import Part, Spread, Target
from tenantry_server.predicting.sorting import Users, turns
from tenantry_server.predicting.together import Answers
from tenantry_server.protocols.batch import peer_answers
from tenantry_server.protocols.batch.errors import PeerRefusal
from tenantry_server.protocols.batch.inside import DIGEST, Form, Inside
from tenantry_server.rows.batch import AT_ONCE, Batch


class Run:
    """One batch on its way.

    Args:
        inside: the server.
        form: what is asked.
        batch: the rows.
        answers: filled.
        ends_s: when the time is over, of `time.monotonic`.
        is_hop: whether another server has passed the batch on.
        wants_fresh: whether the client wants no answer of a server whose lease is over.
    """

    def __init__(
        self,
        inside: Inside,
        form: Form,
        batch: Batch,
        answers: Answers,
        *,
        ends_s: float,
        is_hop: bool,
        wants_fresh: bool,
    ) -> None:
        self._inside = inside
        self._form = form
        self._batch = batch
        self._answers = answers
        self._ends_s = ends_s
        spread = inside.spread
        self._spread = None if is_hop or spread is None or spread.alone else spread
        self._wants_fresh = wants_fresh

    async def answer(self, users: Users) -> None:
        """Answer the rows of these users."""
        batches = self._inside.batches
        found, others = await batches.sort(users, self._answers, counts_for_all=self._spread is None)
        async with asyncio.TaskGroup() as group:
            group.create_task(batches.compute(self._batch, found, self._answers))
            if others:
                rest = {user_id: users[user_id] for user_id in others}
                group.create_task(self._rest(rest, frozenset(), frozenset()))

    async def _rest(self, users: Users, tried: frozenset[str], lost: frozenset[str]) -> None:
        here: dict[str, Sequence[int]] = {}
        parts: dict[Target, dict[str, Sequence[int]]] = defaultdict(dict)
        for user_id in turns(users):
            if user_id is None:
                await asyncio.sleep(0)
                continue
            target = None
            if self._spread is not None:
                target = self._spread.target_of(user_id, tried, wants_fresh=self._wants_fresh)
            (here if target is None else parts[target])[user_id] = users[user_id]
        async with asyncio.TaskGroup() as group:
            if here:
                group.create_task(self._here(here))
            for target, theirs in parts.items():
                if self._spread is not None:
                    group.create_task(self._there(self._spread, target, theirs, tried, lost))

    async def _here(self, users: Users) -> None:
        spread = self._inside.spread
        if self._wants_fresh and spread is not None and not spread.lease_held:
            for rows in users.values():
                self._answers.refuse(rows, LeaseLost())
            return
        left_s = max(0.0, self._ends_s - time.monotonic())
        await self._inside.batches.ask_each(self._batch, users, self._answers, timeout_s=left_s)

    async def _there(
        self, spread: Spread, target: Target, users: Users, tried: frozenset[str], lost: frozenset[str]
    ) -> None:
        rows = sorted(row for theirs in users.values() for row in theirs)
        again: set[str] = set()
        for some, body in await self._inside.batches.aside(
            lambda: list(self._bodies(rows)), rows=len(rows)
        ):
            part = Part(self._target(await self._digest(body, len(some))), body, self._ends_s)
            merged = await self._merged(spread, target, part, some)
            if merged is None:
                lost |= part.lost
                again.update(str(self._batch.users[row]) for row in some)
            else:
                again |= merged
        for user_id in turns(users):
            if user_id is None:
                await asyncio.sleep(0)
            elif user_id not in again:
                spread.passed_on(user_id)
        if not again:
            return
        left = {user_id: users[user_id] for user_id in users if user_id in again}
        if len(lost) >= MAX_LOST and spread.lease_held:
            for theirs in left.values():
                self._answers.refuse(theirs, ServersLost(sorted(lost)))
            return
        await self._rest(left, tried | {target.peer_id}, lost)

    async def _merged(
        self, spread: Spread, target: Target, part: Part, rows: Sequence[int]
    ) -> set[str] | None:
        """Send a part and keep its answer; return as `_merge`."""
        answer = await spread.ask(target, part)
        if answer is None:
            return None
        merged = await self._inside.batches.aside(partial(self._merge, rows, answer.body), rows=len(rows))
        if merged is None:
            spread.broke(target, "its answer is not one to the rows that it was sent")
        return merged

    async def _digest(self, body: bytes, rows: int) -> str:
        return await self._inside.batches.aside(lambda: sha256(body).hexdigest(), rows=rows)

    def _target(self, digest: str) -> str:
        column = quote(self._batch.user_column, safe="")
        return f"{self._form.path}?user_column={column}&{DIGEST}={digest}"

    def _bodies(self, rows: Sequence[int]) -> Iterable[tuple[Sequence[int], bytes]]:
        """Iterate over requests with these rows: one, unless the peer would take it for too large."""
        most = self._inside.max_body_bytes
        some: list[int] = []
        written: list[bytes] = []
        size = 0
        at_once = AT_ONCE
        first = 0
        while first < len(rows):
            following = rows[first : first + at_once]
            piece = orjson.dumps(self._batch.records(following))[1:-1]
            size_after = size + len(piece) + len(following) * 12
            if size_after > most:
                if some:
                    yield some, self._body(some, written)
                    some, written, size = [], [], 0
                    continue
                if at_once > 1:
                    at_once = max(1, at_once // 4)
                    continue
            some, size = [*some, *following], size_after
            written.append(piece)
            first += len(following)
        if some:
            yield some, self._body(some, written)

    def _body(self, rows: Sequence[int], written: Sequence[bytes]) -> bytes:
        numbers = orjson.dumps([self._batch.number(row) for row in rows])
        return b'{"numbers":%b,"rows":[%b]}' % (numbers, b",".join(written))

    def _merge(self, rows: Sequence[int], body: bytes) -> set[str] | None:
        """Keep what a peer answered; return users that another server may know better, None: no answer."""
        row_of = {self._batch.number(row): row for row in rows}
        read = peer_answers.read(body, self._form, row_of, self._batch.user_column)
        if read is None:
            return None
        values, errors = read
        again = {
            str(self._batch.users[row])
            for row, refusal in errors.items()
            if refusal.status == 503 and refusal.reason not in FINAL
        }
        for row, value in zip(rows, values, strict=True):
            if self._batch.users[row] in again:
                continue
            if row in errors:
                self._answers.errors[row] = PeerRefusal(errors[row])
            else:
                self._answers.put((row,), (value,))
        return again
