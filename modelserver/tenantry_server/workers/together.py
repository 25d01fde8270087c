"""Small models that a worker loads in one call: what becomes a kernel comes back with all others.

A model that fails, brings code, or takes long ends the call, and whatever has not become a kernel is loaded
alone, where it is judged: so no model answers for what another one does, and none gets a strike here.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np

from tenantry_server.artifacts.together import Artifact
from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Array, Malformed
from tenantry_server.workers.frames import Kind
from tenantry_server.workers.loaders import Loaders, library_of
from tenantry_server.workers.pool import KNOWN, Pool
from tenantry_server.workers.process import Call, Outcome, Worker

# A worker ends a call by itself after a part of this; so it has this long only where a model holds it up.
_TIMEOUT_S = 5.0


class LoadsTogether:
    """Loads several models in one call of a worker; used on the pool's event loop.

    Args:
        pool: of the workers.
        loaders: those of them that load.
        timeout_s: for one load.
        refuse_skew: refuse artifacts that another version of their library wrote.
        skewed: called with the id of each loaded model of which that is so, and with words.
    """

    def __init__(
        self,
        pool: Pool,
        loaders: Loaders,
        *,
        timeout_s: float,
        refuse_skew: bool,
        skewed: Callable[[str, str], None],
    ) -> None:
        self._pool = pool
        self._loaders = loaders
        self._timeout_s = min(timeout_s, _TIMEOUT_S)
        self._refuse_skew = refuse_skew
        self._skewed = skewed

    async def load(self, artifacts: Sequence[Artifact]) -> list[Array | None]:
        """Return the kernel of each as its worker wrote it; None: it has to be loaded alone."""
        shared = [place for place, each in enumerate(artifacts) if self._may_share(each)]
        found: list[Array | None] = [None] * len(artifacts)
        if shared:
            made = await self._in_turn([artifacts[place] for place in shared])
            for place, kernel in zip(shared, made, strict=False):
                found[place] = kernel
        return found

    def _may_share(self, artifact: Artifact) -> bool:
        model_id = str(artifact.exact)
        return (
            library_of(artifact.exact) == KNOWN
            and artifact.exact.isolation is None
            and not self._pool.strikes.has(model_id)
            and not self._pool.strikes.wait_s(model_id, time.monotonic())
        )

    async def _in_turn(self, artifacts: Sequence[Artifact]) -> Sequence[Array | None]:
        async with self._loaders.turn():
            try:
                loader = await self._loaders.take(KNOWN, dedicated=False)
            except OSError:  # no process can be made, as each load says alone
                return []
            clean = False
            try:
                made, clean = self._read(await self._call(loader, artifacts), artifacts)
                return made
            finally:
                if clean:
                    self._loaders.done_with(loader, KNOWN, KNOWN, dedicated=False)
                else:  # a tenant's code may have run in it
                    self._loaders.end(loader)

    async def _call(self, worker: Worker, artifacts: Sequence[Artifact]) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def end(outcome: Outcome) -> None:
            if not done.done():  # a stop cancels
                done.set_result(outcome)

        loads = [
            {"model_id": str(each.exact), "card": each.card, "refuse_skew": self._refuse_skew}
            for each in artifacts
        ]
        body = arrays.encode({"loads": loads}, [np.frombuffer(each.data, np.uint8) for each in artifacts])
        about = f"one of {len(artifacts)}, the first of which is {artifacts[0].exact}"
        self._pool.submit(worker, Call(about, Kind.LOAD_MANY, body, self._timeout_s, end))
        return await done

    def _read(self, outcome: Outcome, artifacts: Sequence[Artifact]) -> tuple[list[Array | None], bool]:
        """Return the kernels of the first artifacts, and whether no tenant's code has run.

        The worker may have written anything.
        """
        if isinstance(outcome, Exception) or outcome[0] is not Kind.LOADED:
            return [], False
        try:
            document, kernels = arrays.decode(outcome[1])
            following = iter(kernels)
            made = [None if each is None else _bytes(next(following)) for each in document["loads"]]
            skews = [None if each is None else each["skew"] for each in document["loads"]]
            clean = document["clean"] is True
        except (Malformed, KeyError, TypeError, StopIteration):
            return [], False
        for artifact, skew in zip(artifacts, skews, strict=False):
            if skew is not None:
                self._skewed(str(artifact.exact), str(skew))
        return made, clean


def _bytes(written: Array) -> Array:
    if written.dtype != np.uint8 or written.ndim != 1:
        raise Malformed(f"an array of {written.dtype}{written.shape} instead of bytes")
    return written
