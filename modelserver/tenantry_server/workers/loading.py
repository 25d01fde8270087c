"""Loads of models in workers: what becomes a kernel comes back, anything else stays in a worker."""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, TypeVar, final

import orjson

from tenantry import Model, ModelId
from tenantry.errors import (
    ArtifactInvalid,
    CardUnusable,
    ModelQuarantined,
    ModelTimedOut,
    ModelTooLarge,
    WorkersUnavailable,
)
from tenantry.errors.base import bounded
from tenantry_server.artifacts.needs import Needs
from tenantry_server.artifacts.together import Artifact
from tenantry_server.kernels import unpacking
from tenantry_server.kernels.arrays import Buffer, Malformed
from tenantry_server.workers import frames
from tenantry_server.workers.calls.remote import WorkerModel, failure
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.loaders import Loaders, library_of
from tenantry_server.workers.pool import KNOWN, Pool
from tenantry_server.workers.process import Call, Displaced, Ended, Outcome, Overran, Worker
from tenantry_server.workers.together import LoadsTogether
from tenantry_server.workers.usage import Weighed

_TRIES = 3  # of a load whose worker ended for another reason
_MOST_WORDS = 300
_MOST_BYTES = 4 << 30  # what a worker can write at all
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Load:
    """One attempt to load a model.

    Attributes:
        model_id: the exact model.
        library: the heavy one that it needs; `KNOWN` where it needs none.
        dedicated: it shares its worker with no other model.
        key: its name in the pool.
        fds: the artifact, and room for a kernel.
        card: the model's card; None: it has none.
        rewrite: what is wanted is not the model but its artifact, serialised by the libraries here.
        weighed: what the load takes of memory.
    """

    model_id: str
    library: str
    dedicated: bool
    key: int
    fds: Sequence[int]
    card: str | None
    rewrite: bool
    weighed: Weighed


@final
class WorkerLoads:
    """Loads models in workers that keep none, and moves those that stay to workers that do.

    So a load can harm no model in service: the worth of loading some models twice.

    Args:
        pool: of the workers.
        timeout_s: for one load in a worker.
        refuse_skew: refuse artifacts that another version of their library wrote.
        most_bytes: of a kernel; a larger one has no place in the cache, so it is not read.

    Attributes:
        skewed: called with the id of each loaded model of which that is so, and with words.
        needs: learns what loads take.
    """

    skewed: Callable[[str, str], None] = staticmethod(lambda *_: None)

    def __init__(
        self, pool: Pool, *, timeout_s: float, refuse_skew: bool = False, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._refuse_skew = refuse_skew
        self._most_bytes = most_bytes
        self._pool = pool
        self._timeout_s = timeout_s
        self._loaders = Loaders(pool)
        self._together = LoadsTogether(
            pool,
            self._loaders,
            timeout_s=timeout_s,
            refuse_skew=refuse_skew,
            skewed=self._skewed,
        )
        self.needs = Needs()
        self._keys = itertools.count(1)
        self._housing = asyncio.Lock()

    def load(self, data: bytes, exact: ModelId, card: bytes | None = None) -> Model:
        """Make a model of an artifact whose digest was checked; called in any thread but the event loop's.

        Returns:
            a kernel, or a `WorkerModel`.

        Raises:
            ArtifactInvalid: it can't be read, or can't predict.
            CardUnusable, AnswersDiffer: it is not the model that its card describes.
            ModelCrashed: loading it ended the worker.
            ModelTimedOut: it took too long.
            ModelQuarantined: it ended workers again and again, and is not tried now.
            ModelTooLarge: its kernel has no place in the cache.
        """
        with frames.exchange(data) as fds:
            del data  # of which the caller keeps none: a large one is in memory once
            model, length = self._on_loop(self._load(exact, fds, _text(exact, card)))
            if model is None and length > self._most_bytes:
                raise ModelTooLarge(str(exact), length, self._most_bytes)
            return _kernel(exact.uri, fds[1], length) if model is None else model

    def load_many(self, artifacts: Sequence[Artifact]) -> list[Model | None]:
        """Make kernels of small artifacts in one call of a worker; called as `load` is.

        Returns:
            None for each that has to be loaded by `load`: it failed, stays in a worker, or was not tried.
        """
        written = self._on_loop(self._together.load(artifacts))
        return [None if each is None else _kernel_or_none(each.data) for each in written]

    def rewritten(self, data: bytes, exact: ModelId, card: bytes) -> bytes:
        """Return an artifact as the libraries here serialise it, once its model has answered its card.

        Raises:
            TenantryError: as `load`; `ArtifactInvalid` also where it can't be serialised again.
        """
        with frames.exchange(data) as fds:
            load = self._load(exact, fds, _text(exact, card), rewrite=True)
            return _arrived(exact.uri, fds[1], self._on_loop(load)[1])

    def _on_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        loop = self._pool.loop
        if loop is None:
            work.close()
            raise RuntimeError("the workers are not started, or stopped")
        try:
            return asyncio.run_coroutine_threadsafe(work, loop).result()
        except CancelledError:
            raise RuntimeError("this server is stopping") from None

    async def _load(
        self, exact: ModelId, fds: Sequence[int], card: str | None, *, rewrite: bool = False
    ) -> tuple[Model | None, int]:
        """Load in a worker, and once more where the worker was ended for another reason.

        Returns:
            the model that stays there; or None, and the length of what it wrote: a kernel, an artifact.
        """
        strikes, model_id, uri = self._pool.strikes, str(exact), exact.uri
        library = library_of(exact)
        wait_s = strikes.wait_s(model_id, time.monotonic())
        if wait_s:
            raise ModelQuarantined(uri, strikes.how(model_id), wait_s)
        weighed = Weighed(self.needs, exact, os.fstat(fds[0]).st_size)
        for attempt in range(_TRIES):
            try:
                dedicated = attempt > 0 or exact.isolation is not None or strikes.has(model_id)
                load = _Load(model_id, library, dedicated, next(self._keys), fds, card, rewrite, weighed)
                return await self._tried(load)
            except Displaced:
                if self._pool.loop is None:
                    raise RuntimeError("this server is stopping") from None
            except Ended as ended:
                weighed.failed()
                raise self._pool.crashed(model_id, f"loading it: {ended}") from None
            except Overran as overran:
                self._pool.overran(model_id, f"loading it took longer than {self._timeout_s:g} s")
                raise ModelTimedOut(uri, self._timeout_s, str(overran)) from None
            except (Malformed, KeyError, TypeError, ValueError) as error:
                problem = f"its worker's answer can't be read: {type(error).__name__}: {error}"
                raise ArtifactInvalid(uri, problem) from None
            except OSError as error:  # no process can be made
                raise WorkersUnavailable(f"{error}") from None
        raise WorkersUnavailable(f"{_TRIES} of them ended while they loaded it")

    async def _tried(self, load: _Load) -> tuple[Model | None, int]:
        loader, told = await self._in_turn(load)
        try:
            if told["skew"] is not None:
                self._skewed(load.model_id, str(told["skew"]))
            return await self._placed(loader, load, told)
        except BaseException:  # what it told makes no sense, or its home ended
            self._pool.dropped(load.key)
            self._loaders.end(loader)
            raise

    async def _placed(self, loader: Worker, load: _Load, told: dict[str, Any]) -> tuple[Model | None, int]:
        """Give a model that was tried its home: the loader itself where nobody else may share it."""
        needs = str(told["group"])
        if "kernel" in told or load.rewrite:
            self._loaders.done_with(loader, load.library, needs, dedicated=load.dedicated)
            return None, int(told["written" if load.rewrite else "kernel"])
        key, size_bytes = load.key, int(told["size_bytes"])
        group = f"alone {key}" if load.dedicated else needs
        if self._pool.home_of(group) is None and group != KNOWN:
            self._pool.settle(key, loader, group, size_bytes)
        else:
            loader.drop(key)
            self._loaders.done_with(loader, load.library, needs, dedicated=load.dedicated)
            async with self._housing:  # else loads that end together make a worker each
                home = self._pool.home_of(group) or await self._pool.fork()
                self._pool.settle(key, home, group, size_bytes)
            told = await self._call(home, load, keep=True)
        return WorkerModel(told["model"], self._pool, load.model_id, key=key, size_bytes=size_bytes), 0

    async def _in_turn(self, load: _Load) -> tuple[Worker, dict[str, Any]]:
        """Return the worker that loaded a model when it was its turn, and what became of it there."""
        async with self._loaders.turn():
            loader = await self._loaders.take(load.library, dedicated=load.dedicated)
            load.weighed.begins(loader.pid)
            try:
                told = await self._call(loader, load, keep=False)
                load.weighed.ended(loader.pid, int(told.get("kernel", 0)))
            except BaseException:  # a tenant's code may have run before it failed
                self._loaders.end(loader)
                raise
            return loader, told

    def _skewed(self, model_id: str, words: str) -> None:
        self.skewed(model_id, bounded(words, _MOST_WORDS))

    async def _call(self, worker: Worker, load: _Load, *, keep: bool) -> dict[str, Any]:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def end(outcome: Outcome) -> None:
            if not done.done():  # a stop cancels
                done.set_result(outcome)

        asked = {
            "model_id": load.model_id,
            "key": load.key,
            "keep": keep,
            "card": load.card,
            "refuse_skew": self._refuse_skew,
            "rewrite": load.rewrite,
        }
        body = [orjson.dumps(asked)]
        self._pool.submit(worker, Call(load.model_id, Kind.LOAD, body, self._timeout_s, end, load.fds))
        outcome = await done
        if isinstance(outcome, Exception):
            raise outcome
        kind, answer = outcome
        if kind is Kind.FAILED:
            error, _ = failure(answer)
            raise error
        told: dict[str, Any] = orjson.loads(answer)
        return told


def _text(exact: ModelId, card: bytes | None) -> str | None:
    try:
        return None if card is None else card.decode()
    except UnicodeDecodeError:
        raise CardUnusable(exact.uri, "it is not UTF-8") from None


def _arrived(uri: str, room: int, length: int) -> bytes:
    if os.fstat(room).st_size != length:
        raise ArtifactInvalid(uri, "what its worker wrote did not arrive whole")
    data = frames.read_all(room)
    os.ftruncate(room, 0)  # what is large is in memory once
    return data


def _kernel_or_none(written: Buffer) -> Model | None:
    try:
        return unpacking.unpack(written)
    except Malformed:  # which is said where it is loaded alone
        return None


def _kernel(uri: str, room: int, length: int) -> Model:
    try:
        return unpacking.unpack(_arrived(uri, room, length))
    except Malformed as error:
        raise ArtifactInvalid(uri, f"its kernel is not a valid one: {error}") from None
