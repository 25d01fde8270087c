"""What supplies models, by its settings: workers, loads, stores and caches; and what is shown of a server.

Starts nothing.
"""

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import structlog

from tenantry import ModelId
from tenantry.errors import InvalidSetting
from tenantry.stores.file_roots import ANYWHERE, FileRoots
from tenantry.trust.tls import Tls
from tenantry_server.accounts.accounts import Accounts
from tenantry_server.artifacts import headroom
from tenantry_server.artifacts.by_scheme import ModelRepositoryByScheme
from tenantry_server.artifacts.circuit_breaker import CircuitBreaker
from tenantry_server.artifacts.disk_cache import DiskCache, DiskCachedRepository
from tenantry_server.artifacts.headroom import Headroom
from tenantry_server.artifacts.needs import Needs
from tenantry_server.artifacts.on_demand import s3_store
from tenantry_server.artifacts.repositories import (
    ArtifactRepository,
    Checker,
    FileSystemModelRepository,
    Loader,
    load_here,
)
from tenantry_server.artifacts.together import LoaderOfMany
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.metrics import Reading
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.settings import ServerSettings
from tenantry_server.sidecars.feed import Feed
from tenantry_server.signing.trust import FollowedTrust, Trust
from tenantry_server.watchdog import Holds
from tenantry_server.workers import pool
from tenantry_server.workers.calls.signatures import SignatureChecks
from tenantry_server.workers.child import sandbox
from tenantry_server.workers.child.sandbox import Mode, Sandbox
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool

log = structlog.get_logger(__name__)

_READ_S = 60.0  # for an artifact to be read, beside the time that loading it may take
_LOADS = 16  # at once, most of them waiting for a store or a worker
_READS = 4  # of artifacts at once, so that a fleet that starts does not overrun the store


def workers_of(settings: ServerSettings) -> Pool | None:
    """Make the workers, not started; None: models run in this process.

    Raises:
        InvalidSetting: a sandbox is required, and there is none.
    """
    if settings.workers and not pool.possible():
        log.warning("no workers on this system; models run in this process", platform=sys.platform)
    if not settings.workers or not pool.possible():
        if settings.sandbox is Mode.REQUIRE:
            raise InvalidSetting(
                "TENANTRY_SANDBOX=require needs workers, and here models run in the server's own process"
            )
        return None
    held_in = _sandbox(settings)
    answer, body = settings.max_answer_bytes, settings.max_body_bytes
    return Pool(most=settings.workers, held_in=held_in, most_answer_bytes=answer, most_body_bytes=body)


def _sandbox(settings: ServerSettings) -> Sandbox | None:
    """Return what workers are held in; raise InvalidSetting where it is required and there is none."""
    if settings.sandbox is Mode.OFF:
        return None
    missing = sandbox.missing(sandbox.version())
    if missing and settings.sandbox is Mode.REQUIRE:
        raise InvalidSetting(f"TENANTRY_SANDBOX is require, and {missing}; Linux 6.12 has all of it")
    if missing:
        log.warning("models are not held in a sandbox, or not wholly", missing=missing)
    folders = (settings.sandbox_folders or "").split(":")
    return Sandbox([str(Path(each).absolute()) for each in folders if each], settings.sandbox_network)


def disk_of(settings: ServerSettings) -> DiskCache | None:
    """Make the disk cache; None: there is to be none."""
    if settings.disk_cache_dir is None or settings.disk_cache_bytes == 0:
        return None
    return DiskCache(settings.disk_cache_dir, max_bytes=settings.disk_cache_bytes)


def loads_of(settings: ServerSettings, workers: Pool | None) -> WorkerLoads | None:
    """Make what loads models in workers; None where there are none."""
    if workers is None:
        return None
    refuses, most_bytes = settings.refuse_skew, settings.cache_bytes
    return WorkerLoads(
        workers, timeout_s=settings.load_timeout_s, refuse_skew=refuses, most_bytes=most_bytes
    )


def trust_of(settings: ServerSettings) -> FollowedTrust:
    """Return whose signatures are trusted.

    Raises:
        InvalidSetting: that can't be read; or all have to be signed, and nothing could be verified.
    """
    trust = FollowedTrust(settings.trust)
    if settings.signed_only and not trust.now.anybody:
        raise InvalidSetting(
            "TENANTRY_SIGNATURES is required, and no signer is trusted; set TENANTRY_SIGNATURE_KEYS"
        )
    missing = [each for each in ("model_signing", "OpenSSL") if find_spec(each) is None]
    if missing and (settings.signed_only or trust.now.anybody):
        raise InvalidSetting(
            f"signatures can't be verified without {', '.join(missing)}: pip install 'tenantry[signing]'"
        )
    return trust


def checker_of(
    settings: ServerSettings, workers: Pool | None, trusted: Callable[[], Trust] | None = None
) -> Checker:
    """Return what verifies signatures: a worker, or this process where there is none.

    Args:
        trusted: returns who is trusted now; None: what the settings' files say at each call.
    """
    now = settings.trust.read if trusted is None else trusted
    if workers is None:
        return partial(_check_here, now)
    return SignatureChecks(workers, now, timeout_s=settings.load_timeout_s).check


def _check_here(trusted: Callable[[], Trust], data: bytes, exact: ModelId, signature: bytes) -> None:
    from tenantry_server.signing import checking  # noqa: PLC0415 - a server verifies in a worker

    checking.check(exact.uri, hashlib.sha256(data).hexdigest(), signature, trusted())


def make_clients(settings: ServerSettings) -> None:
    """Make the stores' client before an event loop runs: boto3 and its files take a second."""
    s3_store(settings.s3_endpoint_url, max_bytes=settings.max_artifact_bytes)


def models_of(
    settings: ServerSettings,
    disk: DiskCache | None,
    loader: Loader | None,
    checker: Checker,
    loader_of_many: LoaderOfMany | None = None,
    *,
    needs: Needs | None = None,
) -> CachedModelRepository:
    """Models from memory, else from the disk cache, else from where they are published.

    Args:
        loader: makes models of artifacts; None: this process does.
        checker: verifies signatures where they are required.
        loader_of_many: makes models of several small artifacts; None: they are loaded one by one.
        needs: the memory that loads take; None: nothing is known of it.
    """
    limit_bytes = settings.max_artifact_bytes
    s3: ArtifactRepository = CircuitBreaker(s3_store(settings.s3_endpoint_url, max_bytes=limit_bytes))
    if disk is not None:
        s3 = DiskCachedRepository(s3, disk)
    roots = ANYWHERE if settings.file_roots is None else FileRoots.parse(settings.file_roots)
    files = FileSystemModelRepository(max_bytes=limit_bytes, roots=roots)
    here = partial(load_here, refuse_skew=settings.refuse_skew)
    files.loader = s3.loader = here if loader is None else loader
    files.loader_of_many = s3.loader_of_many = loader_of_many
    files.checker = s3.checker = checker
    files.signed_only = s3.signed_only = settings.signed_only
    models = CachedModelRepository(
        ModelRepositoryByScheme({"file": files, "s3": s3}),
        bounded_cache(settings.cache_bytes, settings.cache_policy),
        NearCache(settings.near_cache_bytes) if settings.near_cache_bytes else None,
    )
    files.reading = s3.reading = threading.BoundedSemaphore(_READS)
    files.headroom = s3.headroom = Headroom(
        at_once_bytes=settings.cache_bytes, evictable_bytes=lambda: models.used_bytes, needs=needs
    )
    return models


def readings_of(table: RoutingTable, tls: Tls, feed: Feed, holds: Holds) -> Iterator[Reading]:
    """Make what /metrics shows of a server in a fleet."""
    yield Reading(
        "followers", "Sidecars that follow this server, and whose leases hold.", lambda: len(feed)
    )
    yield Reading(
        "followers_behind_seconds",
        "Since when a follower has not acknowledged a change: Ready waits for it, or for its lease to end.",
        lambda: feed.behind_s,
    )
    yield Reading(
        "lease_held", "1 while this server may trust what it knows.", lambda: table.contact.lease_held
    )
    yield Reading(
        "loop_holds",
        "How often the event loop was held for over 20 ms, since it serves.",
        lambda: holds.count,
    )
    yield Reading(
        "loop_longest_hold_seconds", "The longest of these; 0: there was none.", lambda: holds.longest_s
    )
    if headroom.machine_available_bytes() is not None:
        yield Reading(
            "memory_available_bytes",
            "What server and workers may still take: of the machine, and of their control group.",
            lambda: headroom.machine_available_bytes() or 0,
        )
    if tls.serves:
        yield Reading(
            "certificate_expires_seconds",
            "When this server's certificate ends, in seconds since 1970.",
            lambda: tls.expires_s,
        )


def plane_of(
    settings: ServerSettings,
    table: RoutingTable,
    models: CachedModelRepository,
    workers: Pool | None,
    quotas: Quotas,
) -> DataPlane:
    """Make what predicts, over these models.

    Args:
        quotas: how much each user may be asked for.
    """
    if workers is None:
        plane = DataPlane(
            table,
            models,
            load_timeout_s=settings.load_timeout_s,
            predict_timeout_s=settings.predict_timeout_s,
            quotas=quotas,
        )
    else:
        # Its threads wait for workers, which are ended in time; theirs is for a store that does not answer.
        plane = DataPlane(
            table,
            models,
            load_timeout_s=settings.load_timeout_s + _READ_S,
            predict_timeout_s=settings.predict_timeout_s,
            loads=_LOADS,
            quotas=quotas,
        )
    plane.meter.accounts = Accounts(settings.tenant_accounts)
    return plane
