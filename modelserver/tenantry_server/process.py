"""One model server as a process: listens, runs the parts, hands over, stops gracefully."""

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web
from sqlalchemy import Engine

from tenantry.errors import InvalidSetting, RegistryUnavailable
from tenantry.processes import logs
from tenantry.processes.logs import OnChange
from tenantry.processes.runtime import (
    exit_now,
    exit_within,
    leave_threads,
    run_async,
    set_within,
    when_closed,
)
from tenantry.registry import is_migrated, open_engine
from tenantry.tracing.opening import Tracing
from tenantry.tracing.opening import opened as tracing_of
from tenantry.trust import tls
from tenantry_server import sidecar, watchdog
from tenantry_server.app import FAST_PATH
from tenantry_server.assembly import Parts, assemble
from tenantry_server.assembly.wake_ups import WakeUps, wake_ups_of
from tenantry_server.grpc_v2.opening import grpc_port
from tenantry_server.memory import garbage
from tenantry_server.roles import Role
from tenantry_server.scoring import surroundings
from tenantry_server.settings import ServerSettings
from tenantry_server.shards.drain import until_forgotten, until_handed_over
from tenantry_server.supply import make_clients
from tenantry_server.tracing import requests
from tenantry_server.wire import connections
from tenantry_server.wire.listening import Port
from tenantry_server.wire.log import access_log
from tenantry_server.workers.pool import Pool

if TYPE_CHECKING:
    from tenantry_server.grpc_v2.port import Port as GrpcPort

log = structlog.get_logger(__name__)

_TABLES_EVERY_S = 0.2
_READY_EVERY_S = 0.05
_SWITCH_S = 0.0005
_IMPORTS_S = 60.0  # for the workers' libraries; longer on no machine that serves
_FLUSH_S = 2.0  # for the last spans to reach their collector
_THREADS_S = 1.0  # for threads that are about to end
_END_S = 10.0  # longer than the registry's driver waits

_Accept = Callable[[socket.socket], Coroutine[Any, Any, None]]


def _leave_threads() -> None:
    """End the process although a load or a prediction hangs; Python itself would wait for it."""
    busy = leave_threads(_THREADS_S)
    if busy:
        log.warning("ending in the middle of loads or predictions", threads=busy)
        exit_now()


class _Stop(asyncio.Event):
    """Set once this process was told to stop; being told twice means to hurry."""

    asked = 0

    def ask(self) -> None:
        self.asked += 1
        self.set()


def run(
    settings: ServerSettings,
    *,
    shared_fd: int | None = None,
    lifeline: int | None = None,
    pulse: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the wait for other servers to take over.

    Args:
        shared_fd: a listening socket that several servers accept from, beside this one's own port.
        lifeline: a pipe that closes when the process that started this one is gone; then stop.
        pulse: a pipe to write to as long as the event loop goes on.

    Raises:
        RegistryMismatch: the registry's URL or version is not usable.
        InvalidSetting: the cluster can't be watched, as the client for it is not installed.
        OSError: the address can't be listened on.
    """
    if settings.role is Role.SIDECAR:
        if shared_fd is not None:
            raise InvalidSetting("`tenantry up` starts servers; start a sidecar with `tenantry serve`")
        sidecar.become(settings)
    # After this time a thread that computes lets the event loop go on, whenever it has read a socket.
    sys.setswitchinterval(_SWITCH_S)
    faulthandler.enable()  # what ends it with SIGABRT, or a fault in C, leaves the stacks in its log
    make_clients(settings)
    run_async(_serve(settings, shared_fd, lifeline, pulse))
    _leave_threads()


async def _serve(
    settings: ServerSettings, shared_fd: int | None, lifeline: int | None, pulse: int | None
) -> None:
    stop = _stop_event(lifeline)
    secured = tls.of_settings(settings)
    tracing = tracing_of(settings.traces, "tenantry-server", settings.server_id)
    watching = asyncio.create_task(watchdog.watch(pulse, holds := watchdog.Holds()))
    wake_ups = wake_ups_of(settings)
    engine = open_engine(settings.registry_url)
    if not await _tables_exist(engine, stop):
        return
    own = Port(settings.host, settings.port, secured, head_s=settings.read_timeout_s)
    endpoint = own.endpoint(settings.advertise_url)
    parts = assemble(settings, engine, endpoint=endpoint, tls=secured, stopping=stop.is_set, holds=holds)
    if parts.workers is not None:
        parts.workers.start()
        await _imported(parts.workers, stop)
    else:
        surroundings.hold_to_one_core()
        surroundings.keep()
    runner = await _runner(parts, settings, tracing)
    await own.accept(runner)
    grpc = await grpc_port(settings, runner.server, secured, shared=shared_fd is not None)
    garbage.hold_briefly()
    holds.begin()
    log.info("serving", server=settings.server_id, url=endpoint, pid=os.getpid())
    try:
        await _work(
            parts,
            settings,
            wake_ups,
            stop,
            runner,
            _share(parts, partial(own.accept_from, runner), shared_fd),
            grpc,
        )
    except ExceptionGroup as ended:
        raise ended.exceptions[0] from None
    await _ended(parts, tracing, watching)
    log.info("stopped", server=settings.server_id)
    exit_within(_END_S)


async def _runner(parts: Parts, settings: ServerSettings, tracing: Tracing | None) -> web.AppRunner:
    """Return what serves the application, with all that stands before it."""
    logged = access_log.of_setting(settings.access_log, logs.quick_writer("request"))
    # A client that left needs no answer: neither a turn of a slow model, nor a peer's time.
    runner = web.AppRunner(
        parts.app,
        **access_log.for_aiohttp(logged),
        handler_cancellation=True,
        shutdown_timeout=settings.shutdown_s,
        keepalive_timeout=connections.KEEPALIVE_S,
    )
    await runner.setup()
    if runner.server is not None:
        parts.app[FAST_PATH].install(runner.server, logged)
        if tracing is not None:
            requests.install(runner.server, tracing.sampler)
    return runner


async def _ended(parts: Parts, tracing: Tracing | None, watching: "asyncio.Task[None]") -> None:
    """Give up the lease, and end what this process keeps and started."""
    parts.directory.close()
    await asyncio.gather(parts.follower.release(), _flushed(tracing))
    if parts.disk is not None:
        parts.disk.close()
    if parts.workers is not None:
        parts.workers.close()
    watching.cancel()
    await asyncio.wait([watching])


async def _flushed(tracing: Tracing | None) -> None:
    if tracing is not None:
        await tracing.export.close(_FLUSH_S)


async def _imported(workers: Pool, stop: asyncio.Event) -> None:
    """Wait for the workers' libraries, before any client or the operator asks for a model."""
    waits = [asyncio.ensure_future(workers.until_ready()), asyncio.ensure_future(stop.wait())]
    await asyncio.wait(waits, timeout=_IMPORTS_S, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()


async def _share(parts: Parts, accept: _Accept, shared_fd: int | None) -> None:
    """Accept from the shared socket once this server is ready: other servers do meanwhile."""
    if shared_fd is None:
        return
    while not parts.ready():  # noqa: ASYNC110 - ready is the state of several parts
        await asyncio.sleep(_READY_EVERY_S)
    await accept(socket.socket(fileno=shared_fd))


async def _close_mute(runner: web.AppRunner, settings: ServerSettings) -> None:
    if runner.server is not None:
        await connections.close_mute(runner.server, settings.read_timeout_s)


async def _work(
    parts: Parts,
    settings: ServerSettings,
    wake_ups: WakeUps,
    stop: _Stop,
    runner: web.AppRunner,
    sharing: Coroutine[Any, Any, None],
    grpc: "GrpcPort | None",
) -> None:
    """Serve until told to stop, then hand over and end in order."""
    async with asyncio.TaskGroup() as group:
        following = group.create_task(parts.follower.run(parts.candidates))
        loading = group.create_task(parts.candidates.run())
        beside = [
            group.create_task(wake_ups(parts.follower.hurry)),
            group.create_task(parts.warmth.prewarmer.run()),
            group.create_task(parts.warmth.hot.run(parts.warmth.prewarmer.first_round_over)),
            group.create_task(parts.warmth.misplaced.run()),
            group.create_task(parts.faults.run()),
            group.create_task(parts.copies.run()),
            group.create_task(parts.gatekeeper.run()),
            group.create_task(parts.trust.run()),
            group.create_task(parts.ledger.run()),
            group.create_task(sharing),
            group.create_task(_close_mute(runner, settings)),
        ]
        if parts.strikes is not None:
            beside.append(group.create_task(parts.strikes.run()))
        await stop.wait()
        log.info("stopping", server=settings.server_id)
        parts.follower.wake()  # to report that it is leaving, while everything goes on
        await _drain(parts, settings, lambda: stop.asked > 1)
        for task in (loading, *beside):
            task.cancel()
        # Requests under way end first, with the lease still held.
        if grpc is not None:
            await grpc.close(settings.shutdown_s)
        await asyncio.gather(runner.cleanup(), parts.warmth.hot.remember(), parts.feed.end())
        await parts.ledger.close()
        following.cancel()


async def _drain(parts: Parts, settings: ServerSettings, hurried: Callable[[], bool]) -> None:
    """Go on answering until others have taken over, and nobody is sent here any more."""
    await asyncio.gather(
        until_handed_over(
            parts.registry,
            parts.table,
            server_id=settings.server_id,
            limit_s=settings.drain_s,
            hurried=hurried,
        ),
        until_forgotten(settings.drain_at_least_s, hurried),
    )


def _stop_event(lifeline: int | None) -> _Stop:
    loop, stop = asyncio.get_running_loop(), _Stop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.ask)
    if lifeline is not None:

        def parent_left() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: this process is ending
                loop.call_soon_threadsafe(stop.ask)

        when_closed(lifeline, parent_left)
    return stop


async def _tables_exist(engine: Engine, stop: asyncio.Event) -> bool:
    """Wait until the operator has made the registry's tables; False: told to stop meanwhile."""
    waiting = OnChange(log)
    while not stop.is_set():
        try:
            if await asyncio.to_thread(is_migrated, engine):
                return True
            waiting.info("waiting for the operator to set up the registry", url=repr(engine.url))
        except RegistryUnavailable as error:
            waiting.warning("waiting for the registry", url=repr(engine.url), error=str(error))
        await set_within(stop, _TABLES_EVERY_S)
    return False
