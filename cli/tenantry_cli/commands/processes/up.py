"""`tenantry up`: the whole of Tenantry on one machine."""

import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from secrets import token_hex

import click
import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.processes import addresses, files, logs
from tenantry.registry import RegistryReader, migrate, open_engine
from tenantry.settings import CommonSettings
from tenantry.trust import tls
from tenantry_cli import console, options, page, starting
from tenantry_cli.supervisor import Supervisor
from tenantry_operator.settings import OperatorSettings
from tenantry_server.access.gate import Auth
from tenantry_server.settings import ServerSettings
from tenantry_server.workers import fork_server
from tenantry_server.workers.forking import environment

log = structlog.get_logger(__name__)

_TELL_EVERY_S = 1.0


@click.command("up")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--servers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Model servers, one core each.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port for clients; 0: one that the system chooses.",
)
@click.option(
    "--ui-port",
    type=click.IntRange(0, 65535),
    help="Port of the page of the fleet, /ui. [default: the one after --port, or another one]",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".tenantry"),
    show_default=True,
    help="Folder for the registry, the disk cache, and this command's own files.",
)
@click.option(
    "--registry",
    "registry_url",
    metavar="URL",
    help="SQL registry. [TENANTRY_REGISTRY_URL; default: SQLite in the state folder]",
)
@click.option("--cache-bytes", type=int, help="Bound of each server's model cache. [default: 512 MiB]")
@click.option(
    "--allow-mass-delete",
    is_flag=True,
    help="Remove tenants even where more than max(50, 5 %) disappear at once, or the folder is empty.",
)
@options.log_level
def command(  # noqa: PLR0913 - click passes each option by name
    folder: Path,
    servers: int,
    host: str,
    port: int,
    ui_port: int | None,
    state: Path,
    registry_url: str | None,
    cache_bytes: int | None,
    log_level: str | None,
    *,
    allow_mass_delete: bool,
) -> None:
    """Serve the TenantModel manifests in FOLDER on this machine, until Ctrl-C.

    Starts the operator and the model servers as processes, restarts those that die, and follows
    every change in FOLDER: a manifest that is added, edited or deleted is in force in about a
    second, and nothing restarts. One address serves all tenants:

      curl -d '[{"a": 1, "b": 2}]' http://127.0.0.1:8080/predict/USER_ID

    A page at /ui of the next port shows the tenants and the servers, on this machine alone unless
    TENANTRY_UI says otherwise.
    """
    state = state.absolute()
    state.mkdir(parents=True, exist_ok=True)
    given = registry_url or os.environ.get("TENANTRY_REGISTRY_URL") or f"sqlite:///{state}/registry.db"
    settings = options.settings(CommonSettings, registry_url=given, log_level=log_level)
    serving = options.settings(ServerSettings, cache_bytes=cache_bytes)  # refuse what the children would
    options.settings(OperatorSettings)
    secured = tls.of_settings(serving)
    logs.configure(settings.log_level, process="up")
    with ExitStack() as stack:
        stack.enter_context(_only_one(state))
        shared = stack.enter_context(_listening(host, port))
        migrate(open_engine(settings.registry_url))
        url = addresses.url(host, shared.getsockname()[1], secure=secured.required)
        # A server is one core: OpenMP's threads would spin while they wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        if serving.auth is Auth.REQUIRED and serving.fleet_secrets() is None:
            os.environ["TENANTRY_FLEET_SECRET"] = token_hex(32)  # for these processes, as long as they run
        # Its servers' zygotes share one import of the libraries, unless this process was given one.
        sharing = stack.enter_context(fork_server.shared(environment(os.environ)))
        os.environ.update(sharing)
        launcher = stack.enter_context(starting.launcher_of_processes())
        supervisor = Supervisor(partial(starting.started, launcher))
        common = ["--registry", settings.registry_url, "--log-level", settings.log_level]
        mass_delete = ["--allow-mass-delete"] * allow_mass_delete
        supervisor.add("operator", ["operator", str(folder.absolute()), *common, *mass_delete])
        own = ["--host", host, *_caches(state, cache_bytes), *common]
        _add_servers(supervisor, servers, shared.fileno(), own)
        with page.beside(settings.registry_url, host, port, ui_port) as ui:
            known = {"url": url, "ui": ui, "pid": os.getpid()}
            files.replace(state / "up.json", json.dumps(known).encode())
            _announce(f"Serving {folder} at {url} with {servers} servers. Ctrl-C ends it.", url=url)
            if ui is not None:
                _announce(f"The fleet is shown at {ui}.", ui=ui)
            supervisor.run(_Stop(settings.registry_url))
        _announce("Stopped.")


def _caches(state: Path, cache_bytes: int | None) -> list[str]:
    """Return the options of a server about its two caches."""
    cache = [] if cache_bytes is None else ["--cache-bytes", str(cache_bytes)]
    if "TENANTRY_DISK_CACHE_DIR" not in os.environ:
        cache += ["--disk-cache-dir", str(state / "disk-cache")]
    return cache


def _add_servers(supervisor: Supervisor, count: int, shared_fd: int, common: list[str]) -> None:
    """Have the supervisor keep so many servers running, which accept connections of one socket."""
    inherited = [shared_fd, *fork_server.inheritable(os.environ)]
    for number in range(count):
        name = f"server-{number}"
        own = ["--server-id", name, "--shared-fd", str(shared_fd)]
        own += ["--drain-s", "0"]  # they stop together: no server is left to take over
        supervisor.add(name, ["serve", *own, *common], pass_fds=inherited, pulse=True)


def _announce(message: str, **fields: object) -> None:
    """Print a plain line for a person, or a line of the log for a program."""
    if sys.stderr.isatty():
        console.say(message)
    else:
        log.info(message, **fields)


class _Stop:
    """Knows whether to stop; asked often, so it also announces how many tenants are served."""

    def __init__(self, registry_url: str) -> None:
        self._asked = False
        self._registry = RegistryReader(open_engine(registry_url))
        self._reported = (-1, -1, -1)
        self._tell_at_s = 0.0
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def __call__(self) -> bool:
        if time.monotonic() >= self._tell_at_s and not self._asked:
            self._tell_at_s = time.monotonic() + _TELL_EVERY_S
            self._tell()
        return self._asked

    def _tell(self) -> None:
        try:
            served, declared = self._registry.count_claims()
            counts = served, declared, self._registry.count_degraded()
        except RegistryUnavailable:
            return  # the operator and the servers log it
        if counts != self._reported and declared:
            words = f", {counts[2]:,} degraded" if counts[2] else ""
            _announce(
                f"{served:,} of {declared:,} tenants served{words}",
                served=served,
                declared=declared,
                degraded=counts[2],
            )
            self._reported = counts


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Refuse a second `up` of this folder: two operators over one registry would end each other in turn."""
    with (state / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(
                f"another `tenantry up` uses {state}; end it, or choose another --state"
            ) from None
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Open the clients' socket: held here, so that no connection is refused while a server is dead."""
    try:
        shared = addresses.bound(host, port)
        shared.listen(1024)
    except socket.gaierror as error:
        message = f"can't listen on {host} ({error.strerror}); choose another --host"
        raise click.ClickException(message) from None
    except OSError as error:
        why, where = os.strerror(error.errno or 0), addresses.shown(host, port)
        raise click.ClickException(f"can't listen on {where} ({why}); choose another --port") from None
    with shared:
        yield shared
