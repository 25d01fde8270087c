"""Asks workers to read and write tables in Arrow and Parquet: no such bytes are read in this process."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from tenantry.errors import InvalidRequest, PredictionTimeout, WorkersUnavailable
from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Array, Buffer
from tenantry_server.workers.calls.remote import failure
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.process import Call, Ended, Outcome, Overran, Worker

_AT_ONCE = 2  # workers: each takes a core
_TRIES = 3  # where a worker went for another reason


class Tables:
    """Workers that keep no model, and read and write tables.

    Args:
        pool: of the workers.
        timeout_s: for one table; a worker that takes longer is ended.
    """

    def __init__(self, pool: Pool, *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._idle: list[Worker] = []
        self._turns: asyncio.Semaphore | None = None

    async def read(self, data: bytes, asked: dict[str, Any]) -> Buffer:
        """Return what `tables.read` answers, to be decoded beside the event loop.

        Raises:
            InvalidRequest: the table can't be read, or ended the process that read it.
            BatchTooLong, UnknownMediaType: as `tables.read`.
            WorkersUnavailable: no process can be made.
        """
        return await self._ask(Kind.READ, arrays.encode(asked, [np.frombuffer(data, np.uint8)]))

    async def write(self, described: dict[str, Any], columns: Sequence[Array]) -> bytes:
        """Return the bytes of a table, as `tables.write` says.

        Raises:
            UnknownMediaType, WorkersUnavailable: as `read`.
        """
        return bytes(await self._ask(Kind.WRITE, arrays.encode(described, columns)))

    async def _ask(self, kind: Kind, buffers: Sequence[Buffer]) -> Buffer:
        if self._turns is None:  # made on the loop that uses it
            self._turns = asyncio.Semaphore(_AT_ONCE)
        async with self._turns:
            for _ in range(_TRIES):
                worker = await self._worker()
                outcome = await self._made(worker, kind, buffers)
                if isinstance(outcome, Ended):
                    raise InvalidRequest(f"the table ended the process that read it ({outcome})")
                if isinstance(outcome, Overran):
                    raise PredictionTimeout(self._timeout_s)
                if isinstance(outcome, Exception):
                    continue
                self._idle.append(worker)
                answered, body = outcome
                if answered is Kind.FAILED:
                    raise failure(body)[0]
                return body
        raise WorkersUnavailable("the processes that read tables ended one after another")

    async def _worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.open:
                return worker
        try:
            return await self._pool.fork()
        except OSError as error:
            raise WorkersUnavailable(f"no process can be made: {error}") from None

    async def _made(self, worker: Worker, kind: Kind, buffers: Sequence[Buffer]) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def ended(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        self._pool.submit(worker, Call("a table", kind, buffers, self._timeout_s, ended))
        try:
            return await done
        except asyncio.CancelledError:
            worker.end()  # it works on for nobody
            raise
