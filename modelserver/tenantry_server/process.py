"""One model server as a process: builds the parts, listens, stops gracefully."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from sqlalchemy import Engine

from tenantry import loops
from tenantry.errors import InvalidSetting, RegistryUnavailable
from tenantry.registry import ServerRegistry, is_migrated, open_engine
from tenantry_server.app import SHORTEN, make_app
from tenantry_server.cache import CachedModelRepository
from tenantry_server.candidates import CandidateLoader
from tenantry_server.dataplane import DataPlane
from tenantry_server.disk import DiskCache, DiskCachedRepository
from tenantry_server.follower import RegistryFollower
from tenantry_server.forwarding import Forwarder
from tenantry_server.holders import Holders
from tenantry_server.hot import HotUsers
from tenantry_server.peers import Peers
from tenantry_server.policies import bounded_cache
from tenantry_server.prewarm import Prewarmer
from tenantry_server.repositories import (
    ArtifactRepository,
    FileSystemModelRepository,
    ModelRepositoryByScheme,
)
from tenantry_server.routes import RoutingTable
from tenantry_server.s3 import S3ModelRepository, make_client
from tenantry_server.settings import ServerSettings

log = structlog.get_logger(__name__)

_TABLES_EVERY_S = 0.2


def run(settings: ServerSettings, *, shared_fd: int | None = None, lifeline: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        shared_fd: a listening socket that several servers accept from, beside this one's own port.
        lifeline: a pipe that closes when the process that started this one is gone; then stop.

    Raises:
        RegistryMismatch: the registry's URL or version is not usable.
        InvalidSetting: the cluster can't be watched, as the client for it is not installed.
        OSError: the address can't be listened on.
    """
    loops.run(_serve(settings, shared_fd, lifeline))


async def _serve(settings: ServerSettings, shared_fd: int | None, lifeline: int | None) -> None:
    stop = _stop_event(lifeline)
    wake_ups = _cluster_wake_ups(settings)
    engine = open_engine(settings.registry_url)
    if not await _tables_exist(engine, stop):
        return
    try:
        own = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{settings.host}:{settings.port}") from error
    port = own.getsockname()[1]
    endpoint = settings.advertise_url or f"http://{settings.host}:{port}"
    registry = ServerRegistry(
        engine, settings.server_id, endpoint=endpoint, capacity_bytes=settings.cache_bytes
    )
    disk = _disk(settings)
    models = _models(settings, disk)
    table = RoutingTable(registry, on_loss=settings.on_registry_loss)
    plane = DataPlane(table, models)
    peers = Peers(settings.server_id)
    forwarder = Forwarder(
        table,
        peers,
        Holders(table, peers, plane),
        timeout_s=settings.predict_timeout_s,
        max_body_bytes=settings.max_body_bytes,
    )
    hot = HotUsers(registry, table, models, limit=settings.hot_users, every_s=settings.hot_every_s)
    prewarmer = Prewarmer(
        table, models, plane.load, hot.recall, server_id=settings.server_id, wait_s=settings.prewarm_s
    )
    follower = RegistryFollower(
        registry,
        table,
        models,
        poll_s=settings.poll_s,
        lease_s=settings.lease_s,
        changed=prewarmer.changed,
        servers_read=peers.take,
    )
    candidates = CandidateLoader(plane.load, settings.server_id, follower.wake)
    app = make_app(
        table,
        models,
        server_id=settings.server_id,
        predict_timeout_s=settings.predict_timeout_s,
        max_body_bytes=settings.max_body_bytes,
        data_plane=plane,
        disk=disk,
        ready=lambda: table.was_read and prewarmer.done and not stop.is_set(),
        registry_age_s=lambda: table.age_s,
        forwarder=forwarder,
    )
    # Whoever left is owed no answer: neither a turn of a slow model, nor a peer's time.
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=settings.shutdown_s
    )
    await runner.setup()
    if runner.server is not None:
        app[SHORTEN](runner.server)
    sockets = [own] if shared_fd is None else [own, socket.socket(fileno=shared_fd)]
    for listening in sockets:
        listening.setblocking(False)
        await web.SockSite(runner, listening).start()
    gc.freeze()  # two hundred thousand objects of libraries, which no collection need look at again
    log.info("serving", server=settings.server_id, url=endpoint, pid=os.getpid())
    try:
        async with asyncio.TaskGroup() as group:
            following = group.create_task(follower.run(candidates))
            loading = group.create_task(candidates.run())
            beside = [
                group.create_task(wake_ups(follower.hurry)),
                group.create_task(prewarmer.run()),
                group.create_task(hot.run(prewarmer.first_round_over)),
            ]
            await stop.wait()
            log.info("stopping", server=settings.server_id)
            for task in (loading, *beside):
                task.cancel()
            # Requests under way end first, with the lease still held.
            await asyncio.gather(runner.cleanup(), hot.remember())
            following.cancel()
    except ExceptionGroup as ended:
        raise ended.exceptions[0] from None
    peers.close()
    await follower.release()
    if disk is not None:
        disk.close()
    log.info("stopped", server=settings.server_id)


def _disk(settings: ServerSettings) -> DiskCache | None:
    if settings.disk_cache_dir is None or settings.disk_cache_bytes == 0:
        return None
    return DiskCache(settings.disk_cache_dir, max_bytes=settings.disk_cache_bytes)


def _models(settings: ServerSettings, disk: DiskCache | None) -> CachedModelRepository:
    """From the memory, else from the disk, else from where they are published."""
    limit_bytes = settings.max_artifact_bytes
    s3: ArtifactRepository = S3ModelRepository(make_client(settings.s3_endpoint_url), max_bytes=limit_bytes)
    if disk is not None:
        s3 = DiskCachedRepository(s3, disk)
    return CachedModelRepository(
        ModelRepositoryByScheme({"file": FileSystemModelRepository(max_bytes=limit_bytes), "s3": s3}),
        bounded_cache(settings.cache_bytes, settings.cache_policy),
    )


def _cluster_wake_ups(
    settings: ServerSettings,
) -> Callable[[Callable[[], None]], Coroutine[Any, Any, None]]:
    """What calls its argument for whatever happens on the cluster; never, where that is not wanted."""
    if not settings.kubernetes_watch:
        return lambda _: asyncio.sleep(0)
    try:
        from tenantry_server import cluster_watch  # noqa: PLC0415 - its client takes a while to import
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"TENANTRY_KUBERNETES_WATCH needs {error.name}: pip install 'tenantry[kubernetes]'"
        ) from None
    return partial(cluster_watch.run, settings.namespace)


def _stop_event(lifeline: int | None) -> asyncio.Event:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if lifeline is not None:

        def parent_left() -> None:
            loop.remove_reader(lifeline)
            stop.set()

        loop.add_reader(lifeline, parent_left)  # nobody ever writes: readable means closed
    return stop


async def _tables_exist(engine: Engine, stop: asyncio.Event) -> bool:
    """Wait until the operator has made the registry's tables; False: told to stop meanwhile."""
    told = False
    while not stop.is_set():
        problem = ""
        try:
            if await asyncio.to_thread(is_migrated, engine):
                return True
        except RegistryUnavailable as error:
            problem = str(error)
        if not told and problem:
            log.warning("waiting for the registry", url=repr(engine.url), error=problem)
        elif not told:
            log.info("waiting for the operator to set up the registry", url=repr(engine.url))
        told = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TABLES_EVERY_S)
    return False
