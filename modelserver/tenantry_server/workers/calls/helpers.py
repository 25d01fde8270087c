"""Workers that keep no model, and read or write what clients send, each within a time."""

import asyncio
from collections.abc import Sequence

from tenantry.errors import InvalidRequest, PredictionTimeout, WorkersUnavailable
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.workers import usage
from tenantry_server.workers.calls.remote import failure
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.process import Call, Ended, Outcome, Overran, Worker

_AT_ONCE = 2  # workers: each takes a core
_TRIES = 3  # where a worker went for another reason
_GROWN_BYTES = 64 << 20  # what the last call may have left in a process that waits for the next one


class Helpers:
    """Asks workers one question each, which none of a tenant's code answers.

    Args:
        pool: of the workers.
        what: is read or written, for messages.
        timeout_s: for one question; a worker that takes longer is ended.
    """

    def __init__(self, pool: Pool, what: str, *, timeout_s: float) -> None:
        self._pool = pool
        self._what = what
        self._timeout_s = timeout_s
        self._idle: list[Worker] = []
        self._turns: asyncio.Semaphore | None = None

    async def ask(self, kind: Kind, buffers: Sequence[Buffer]) -> Buffer:
        """Return a worker's answer.

        Raises:
            InvalidRequest: the question ended the worker.
            PredictionTimeout: it took too long.
            WorkersUnavailable: no process can be made.
            TenantryError: the worker's own.
        """
        if self._turns is None:  # made on the loop that uses it
            self._turns = asyncio.Semaphore(_AT_ONCE)
        async with self._turns:
            for _ in range(_TRIES):
                worker = await self._worker()
                outcome = await self._made(worker, kind, buffers)
                if isinstance(outcome, Ended):
                    raise InvalidRequest(f"the {self._what} ended the process that read it ({outcome})")
                if isinstance(outcome, Overran):
                    raise PredictionTimeout(self._timeout_s)
                if isinstance(outcome, Exception):
                    continue
                self._keep(worker)
                answered, body = outcome
                if answered is Kind.FAILED:
                    raise failure(body)[0]
                return body
        raise WorkersUnavailable(f"the processes that read a {self._what} ended one after another")

    def _keep(self, worker: Worker) -> None:
        if usage.own_bytes(worker.pid) - worker.at_first_bytes > _GROWN_BYTES:
            self._pool.recycle(worker)
        else:
            self._idle.append(worker)

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

        self._pool.submit(worker, Call(f"a {self._what}", kind, buffers, self._timeout_s, ended))
        try:
            return await done
        except asyncio.CancelledError:
            worker.end()  # it works on for nobody
            raise
