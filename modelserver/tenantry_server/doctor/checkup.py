"""Loads models as a server would, with the libraries at hand, and says which of them it could not serve.

For `tenantry doctor`, before an upgrade: in workers with deadlines, a few at a time, and none of them kept.
A model with a card also answers its example rows, as that is a part of every load. Refuses the registry:
the caller says which models, and declares what `mending` stores of them.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenantry import ModelId, TenantryError
from tenantry.errors import InvalidSetting, ModelTimedOut, VersionSkew
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.scoring.calls import contained
from tenantry_server.settings import ServerSettings
from tenantry_server.supply import checker_of, loads_of, models_of, workers_of
from tenantry_server.workers.pool import Pool

if TYPE_CHECKING:
    from tenantry_server.doctor.mending import Mended, Mending

_AT_ONCE = 4  # reads of artifacts; workers load two at a time
_READ_S = 60.0  # for an artifact to be read, beside the time that loading it may take


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one model.

    Attributes:
        reason: why it would not load, or answers otherwise than its card says; empty: it is well.
        message: the same for a person.
        skew: that another version of its library wrote it, in words; empty: it did not.
        mended: what came of storing it again; None: that was not wanted, or has no use.
    """

    model_id: str
    reason: str = ""
    message: str = ""
    skew: str = ""
    mended: "Mended | None" = None


async def check(
    settings: ServerSettings,
    model_ids: Sequence[str],
    checked: Callable[[Checked], None],
    *,
    fix: Collection[str] = (),
) -> None:
    """Load each of these models once, and give it up.

    Args:
        settings: of the server that would serve them; its disk cache is neither read nor filled.
        checked: called on the event loop with each result, in any order.
        fix: which models to store again where another version of their library wrote them, as `mending`
            says.

    Raises:
        InvalidSetting: without workers nothing is fixed, as tenants' code would write here.
    """
    workers = workers_of(settings)
    mending = _mending(settings, workers) if fix else None
    loads = loads_of(settings, workers)
    checker = checker_of(settings, workers)
    models = models_of(settings, None, None if loads is None else loads.load, checker)
    skews: dict[str, str] = {}
    if workers is not None and loads is not None:
        loads.skewed = skews.__setitem__
        workers.start()
        await workers.until_ready()
    threads = ThreadPoolExecutor(_AT_ONCE, "check")
    limit_s = settings.load_timeout_s + _READ_S
    left = iter(model_ids)

    async def work() -> None:
        for model_id in left:
            reason, message = await _loaded(threads, models, model_id, limit_s)
            skew = skews.pop(model_id, "")
            mended = None
            is_skewed = reason == VersionSkew.reason or (bool(skew) and not reason)
            if mending is not None and is_skewed and model_id in fix:
                mended = await mending.mend(threads, model_id, 2 * limit_s)
            checked(Checked(model_id, reason, message, skew, mended))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        if workers is not None:
            workers.close()


def _mending(settings: ServerSettings, workers: Pool | None) -> "Mending":
    if workers is None:
        raise InvalidSetting("--fix writes models in workers, and here are none (TENANTRY_WORKERS)")
    from tenantry_server.doctor.mending import Mending  # noqa: PLC0415 - seconds, for which only --fix waits

    return Mending(settings, workers)


async def _loaded(
    threads: ThreadPoolExecutor, models: CachedModelRepository, model_id: str, limit_s: float
) -> tuple[str, str]:
    """Load one model and drop it; return why that failed, or empty texts."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            await loop.run_in_executor(threads, contained, lambda: models.get_resident(model_id))
    except TimeoutError:
        late = ModelTimedOut(ModelId.parse(model_id).uri, limit_s, "it was not read or loaded by then")
        return late.reason, str(late)
    except TenantryError as error:
        return error.reason, str(error)
    except Exception as error:
        # A loader is a stranger's code and may raise anything: the others are checked nevertheless.
        return "LoadFailed", f"{type(error).__name__}: {error}"
    models.discard(model_id)
    return "", ""
