"""A sidecar as a process: beside an application, it follows a model server and answers on loopback.

Owns its wiring, its sockets, and its end. Knows no SQL, has no workers, and loads no model: what it has no
near copy of, it passes on. `become` replaces a process that has read its settings with one that has nothing
else in memory.
"""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp
import structlog
from aiohttp import web

from tenantry import TenantryError
from tenantry.processes import addresses, logs
from tenantry.processes.runtime import exit_now, leave_threads, run_async
from tenantry.trust.tls import Tls
from tenantry_server import watchdog
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.app import FAST_PATH, make_app
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.memory.near_cache import NearCache
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.peers.near_copies import NearCopies
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.quotas.quotas import Quotas
from tenantry_server.sidecars import footprint, options, probes
from tenantry_server.sidecars.beside import KnownFleet, NoModels, ServerProblem, SidecarView
from tenantry_server.sidecars.followed_table import FollowedTable
from tenantry_server.sidecars.following import HttpFetch, ServerFollower
from tenantry_server.sidecars.options import SidecarOptions
from tenantry_server.wire import connections
from tenantry_server.wire.listening import Port
from tenantry_server.wire.log import access_log
from tenantry_server.wire.secure_site import BACKLOG

if TYPE_CHECKING:
    from tenantry_server.settings import ServerSettings

log = structlog.get_logger(__name__)

_SMALL = {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_EVERYWHERE = addresses.EVERYWHERE
_GROUP_ONLY = 0o660
_SWITCH_S = 0.0005
_THREADS_S = 1.0
_CAUGHT_UP_S = 0.05
_SETTLED_S = 2.0  # after it has caught up, until its memory is looked through


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The parts of a sidecar.

    Attributes:
        app: answers what its application asks.
        probes: answers a kubelet and Prometheus.
        follower: keeps `table` in step with a server.
        copies: brings near copies here.
        directory: the servers.
    """

    app: web.Application
    probes: web.Application
    table: FollowedTable
    follower: ServerFollower
    fetch: HttpFetch
    copies: NearCopies
    directory: Directory


def become(settings: "ServerSettings") -> NoReturn:
    """Replace this process with the sidecar that the settings describe.

    Raises:
        InvalidSetting: they describe none.
    """
    pipe = options.of(settings).hand_over()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606 - this very interpreter
        sys.executable, [sys.executable, "-m", "tenantry_server.sidecars", str(pipe)], _SMALL | os.environ
    )


def assemble(given: SidecarOptions, session: aiohttp.ClientSession, stop: asyncio.Event) -> Sidecar:
    """Make the parts of a sidecar and wire them to one another.

    Raises:
        InvalidSetting: a file of the fleet's secret, or of TLS, can't be used.
    """
    name = f"{given.server_id[:240]}.{token_hex(4)}"  # of no server, and of no other sidecar
    secrets, tls = given.secrets, given.tls
    problem = ServerProblem()
    table = FollowedTable(problem)
    near = NearCache[Any](given.near_cache_bytes) if given.near_cache_bytes else None
    models = CachedModelRepository(NoModels(problem), bounded_cache(1), near)
    quotas = Quotas(table.limits, given.default_limits())
    plane = DataPlane(table, models, predict_timeout_s=given.predict_timeout_s, loads=1, quotas=quotas)
    directory = Directory(name, tls, member=False)
    view = SidecarView(table, directory, plane)
    quotas.share = view.share
    hops = Hops(secrets, "")
    copies = NearCopies(models, table, directory, hops)
    known = KnownFleet(
        given.fleet_urls, directory, lambda limits: quotas.default_to(given.default_limits(limits))
    )
    fetch = HttpFetch(session, name, secrets, tls)
    follower = ServerFollower(table, known.urls, fetch, discard=models.discard, met=known.met)
    problem.follower = follower
    app = make_app(
        table,
        models,
        server_id=given.server_id,
        predict_timeout_s=given.predict_timeout_s,
        max_body_bytes=given.max_body_bytes,
        read_timeout_s=given.read_timeout_s,
        max_arriving_bytes=given.max_arriving_bytes,
        data_plane=plane,
        ready=lambda: table.was_read and not stop.is_set(),
        forwarder=Forwarder(
            view,
            directory,
            timeout_s=given.predict_timeout_s,
            max_body_bytes=given.max_body_bytes,
            passed_on=copies.passed_on,
            models_here=False,
            hops=hops,
        ),
        gate=Gate(open_lists=given.open_lists, open_repository=given.open_repository),
        max_batch_rows=given.max_batch_rows,
    )
    probing = probes.make_app(app, table, stopping=stop.is_set)
    return Sidecar(app, probing, table, follower, fetch, copies, directory)


async def serve(given: SidecarOptions, stop: asyncio.Event) -> None:
    """Answer and follow until `stop`, then end in order.

    Raises:
        OSError: an address can't be listened on; names it.
        InvalidSetting: as `assemble`.
    """
    plain = Tls()  # its callers are in the same pod
    own = Port(given.host, given.port, plain, head_s=given.read_timeout_s)
    async with aiohttp.ClientSession() as session:
        parts = assemble(given, session, stop)
        logged = access_log.of_setting(given.access_log, logs.quick_writer("request"))
        runner = web.AppRunner(
            parts.app,
            **access_log.for_aiohttp(logged),
            handler_cancellation=True,
            shutdown_timeout=given.shutdown_s,
            keepalive_timeout=connections.KEEPALIVE_S,
        )
        probing = web.AppRunner(parts.probes, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await probing.setup()
        if runner.server is not None:
            parts.app[FAST_PATH].install(runner.server, logged)
        if given.probe_port is not None:
            port = Port(
                given.probe_host or _EVERYWHERE, given.probe_port, plain, head_s=given.read_timeout_s
            )
            await port.accept(probing)
            log.info("probes", url=port.endpoint(None))
        if given.socket is not None:
            await web.SockSite(runner, _bound(Path(given.socket)), backlog=BACKLOG).start()
        await own.accept(runner)
        log.info(
            "serving", sidecar=given.server_id, url=own.endpoint(None), socket=given.socket, pid=os.getpid()
        )
        await _work(parts, given, runner, stop)
        await probing.cleanup()
        if given.socket is not None:
            _gone(given.socket)
    log.info("stopped", sidecar=given.server_id)


async def _work(parts: Sidecar, given: SidecarOptions, runner: web.AppRunner, stop: asyncio.Event) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(parts.follower.run()),
                group.create_task(parts.copies.run()),
                group.create_task(watchdog.watch()),
                group.create_task(_shrink_once(parts)),
            ]
            if runner.server is not None:
                tasks.append(group.create_task(connections.close_mute(runner.server, given.read_timeout_s)))
            await stop.wait()
            log.info("stopping", sidecar=given.server_id)
            await asyncio.sleep(given.drain_at_least_s)
            await runner.cleanup()  # requests under way end, with the lease still held
            for task in tasks:
                task.cancel()
    finally:
        parts.follower.stop_trusting()
        with contextlib.suppress(OSError, TimeoutError):
            await parts.fetch.leave(parts.follower.url)
        parts.directory.close()


async def _shrink_once(parts: Sidecar) -> None:
    """Give back what the start needed, once there is a routing table."""
    while not parts.table.was_read:  # noqa: ASYNC110 - the table has no event, and this is once
        await asyncio.sleep(_CAUGHT_UP_S)
    await asyncio.sleep(_SETTLED_S)
    before = footprint.resident_bytes()
    footprint.shrink()
    log.info(
        "caught up", tenants=len(parts.table), mib=_mib(footprint.resident_bytes()), before=_mib(before)
    )


def _mib(count: int) -> float:
    return round(count / (1 << 20), 1)


def _bound(path: Path) -> socket:
    """Take a Unix socket, in the place of one that a former process left.

    Raises:
        OSError: it can't be had; names it.
    """
    own = socket(AF_UNIX, SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.stat().st_mode):
                path.unlink()
        own.bind(str(path))
        path.chmod(_GROUP_ONLY)
    except OSError as error:
        own.close()
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    own.setblocking(False)
    return own


def _gone(path: str) -> None:
    Path(path).unlink(missing_ok=True)


async def _until_signalled(given: SidecarOptions) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await serve(given, stop)


def main() -> None:
    """Run as what `become` has started."""
    try:
        given = options.taken_over(int(sys.argv[1]))
        logs.configure(given.log_level, process=given.server_id)
        sys.setswitchinterval(_SWITCH_S)
        run_async(_until_signalled(given))
    except (TenantryError, OSError) as error:
        sys.exit(f"Error: {error}")
    if leave_threads(_THREADS_S):
        exit_now()


if __name__ == "__main__":
    main()
