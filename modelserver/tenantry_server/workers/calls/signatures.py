"""Asks a worker to verify signatures: what a stranger wrote is not parsed in this process.

One worker does nothing else. It runs no model, so it stays and has `model-signing` imported once.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import CancelledError

import orjson

from tenantry import ModelId
from tenantry.errors import SignatureInvalid, SignatureUnverifiable, WorkersUnavailable
from tenantry_server.kernels.arrays import Malformed
from tenantry_server.signing.trust import Trust
from tenantry_server.workers.calls.remote import failure
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.pool import Pool
from tenantry_server.workers.process import Call, Displaced, Outcome, Worker

MOST_BYTES = 1 << 20
_TRIES = 3  # where the worker went for another reason


class SignatureChecks:
    """Verifies that artifacts are signed by somebody who is trusted.

    Args:
        pool: of the workers.
        trusted: returns who is trusted now.
        timeout_s: for one signature, the import of the library included.
    """

    def __init__(self, pool: Pool, trusted: Callable[[], Trust], *, timeout_s: float) -> None:
        self._pool = pool
        self._trusted = trusted
        self._timeout_s = timeout_s
        self._worker: Worker | None = None
        self._forking = asyncio.Lock()

    def check(self, data: bytes, exact: ModelId, signature: bytes) -> None:
        """Verify the signature of an artifact; called in any thread but the event loop's.

        Raises:
            SignatureRefused: one of its kinds says what is wrong.
            WorkersUnavailable: no process can be made.
        """
        if len(signature) > MOST_BYTES:
            raise SignatureInvalid(exact.uri, f"it has more than {MOST_BYTES} bytes")
        loop = self._pool.loop
        if loop is None:
            raise RuntimeError("the workers are not started, or stopped")
        asked = {
            "uri": exact.uri,
            "sha256": hashlib.sha256(data).hexdigest(),
            "signature": signature.decode(errors="replace"),
            "trust": self._trusted().to_json(),
        }
        work = self._ask(exact.uri, orjson.dumps(asked))
        try:
            asyncio.run_coroutine_threadsafe(work, loop).result()
        except CancelledError:
            raise RuntimeError("this server is stopping") from None

    async def _ask(self, uri: str, body: bytes) -> None:
        for _ in range(_TRIES):
            outcome = await self._made(await self._ready(), uri, body)
            if isinstance(outcome, Displaced):
                continue
            if isinstance(outcome, Exception):
                raise SignatureInvalid(uri, f"verifying it ended the process that did so: {outcome}")
            answered, said = outcome
            if answered is not Kind.FAILED:
                return
            try:
                error, _ = failure(said)
            except Malformed as malformed:
                raise SignatureUnverifiable(uri, f"{malformed}") from None
            raise error
        raise WorkersUnavailable("the processes that verify signatures ended one after another")

    async def _ready(self) -> Worker:
        async with self._forking:
            if self._worker is None or not self._worker.open:
                try:
                    self._worker = await self._pool.fork()
                except OSError as error:
                    raise WorkersUnavailable(f"no process can be made: {error}") from None
            return self._worker

    async def _made(self, worker: Worker, uri: str, body: bytes) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def ended(outcome: Outcome) -> None:
            if not done.done():  # a stop cancels
                done.set_result(outcome)

        self._pool.submit(
            worker, Call(f"the signature of {uri}", Kind.CHECK, [body], self._timeout_s, ended)
        )
        return await done
