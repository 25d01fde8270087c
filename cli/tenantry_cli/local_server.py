"""`python -m tenantry_cli.local_server`: one model server without a fleet, for scoring with `--local`.

It answers from what a registry or a folder of manifests says when it starts, holds no lease, and belongs to
no fleet: nothing is written, and no other server learns of it. Models run in workers, as in
every server.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
from aiohttp import web

from tenantry import TenantryError
from tenantry.errors import InvalidManifest, ModelNotAssigned, ModelNotReady
from tenantry.manifest.spec import ModelSource
from tenantry.processes import logs
from tenantry.processes.runtime import run_async, when_closed
from tenantry.registry import RegistryReader
from tenantry_cli.main import run
from tenantry_operator import runtime as operator_runtime
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.folder import policy_file
from tenantry_operator.folder.source import FolderSource
from tenantry_operator.settings import OperatorSettings
from tenantry_server.app import make_app
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.settings import ServerSettings
from tenantry_server.supply import checker_of, loads_of, models_of, workers_of

_READ_S = 60.0  # for an artifact to be read, beside the time that loading it may take
_LOADS = 16  # at once, most of them waiting for a store or a worker


class Registered(ModelInfoRepository):
    """What a registry says now, once and for all.

    Args:
        models: user id -> model id; None where no version has loaded yet.
    """

    def __init__(self, models: Mapping[str, str | None]) -> None:
        self._models = models

    def get_model_id_by_user_id(self, user_id: str) -> str:
        """As `ModelInfoRepository`."""
        if user_id not in self._models:
            raise ModelNotAssigned(user_id)
        model_id = self._models[user_id]
        if model_id is None:
            raise ModelNotReady(user_id)
        return model_id

    def peek(self, user_id: str) -> str | None:
        """As `ModelInfoRepository`."""
        return self._models.get(user_id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The artifact that a manifest declares, and whether a policy asks for a signature of it."""

    source: ModelSource
    signed: bool = False


class Declared(ModelInfoRepository):
    """What the manifests of a folder say now; which bytes that are is found when a user is asked for.

    Args:
        sources: user id -> the artifact, or why the user's manifests declare none.
    """

    def __init__(self, sources: Mapping[str, Wanted | TenantryError], resolve: Resolver) -> None:
        self._sources = sources
        self._resolve = resolve
        self._models: dict[str, str] = {}

    def get_model_id_by_user_id(self, user_id: str) -> str:
        """As `ModelInfoRepository`.

        Raises:
            InvalidManifest: the manifest breaks a rule or a policy, or another one names the same user.
            ArtifactError: the artifact can't be found.
        """
        if user_id not in self._models:
            wanted = self._sources.get(user_id)
            if wanted is None:
                raise ModelNotAssigned(user_id)
            if isinstance(wanted, TenantryError):
                raise wanted
            found = self._resolve(wanted.source)
            exact = replace(found, signatures="required") if wanted.signed else found
            self._models[user_id] = str(exact)
        return self._models[user_id]

    def peek(self, user_id: str) -> str | None:
        """As `ModelInfoRepository`."""
        return self._models.get(user_id)


def users_of(source: str) -> ModelInfoRepository:
    """Read which model answers for each user.

    Args:
        source: the URL of a registry, or a folder of manifests.

    Raises:
        RegistryMismatch, RegistryUnavailable: as `RegistryReader.of_existing`.
        click.ClickException: the folder can't be read, or declares nothing.
    """
    if "://" in source:
        with RegistryReader.of_existing(source) as registry:
            return Registered({user: row.model_id for user, row in registry.assigned().items()})
    folder = Path(source).absolute()
    if not folder.is_dir():
        raise click.ClickException(f"{source} is not a folder of manifests")
    settings = OperatorSettings.load()
    found = declared_in(folder, settings)
    if not found:
        raise click.ClickException(f"no TenantModel is declared in {source}")
    return Declared(found, operator_runtime.resolver(settings, beside=folder))


def declared_in(folder: Path, settings: OperatorSettings) -> dict[str, Wanted | TenantryError]:
    """Return what the manifests of a folder declare, by user id.

    Raises:
        InvalidManifest: the file of policies breaks a rule.
        OSError: it can't be read.
    """
    policies = None if settings.policy_file is None else policy_file.read(settings.policy_file)
    found: dict[str, Wanted | TenantryError] = {}
    origins: dict[str, str] = {}
    for declaration in FolderSource(folder, ()).scan().declared.values():
        model = declaration.model
        if model is None:
            continue  # it says not for whom it is
        user_id = model.spec.user_id
        denied = None if policies is None else policies.denial(model)
        if user_id in found:
            words = f"{origins[user_id]} and {declaration.origin} both declare user {user_id!r}"
            found[user_id] = InvalidManifest("", f"{words}; delete one of them")
        elif denied is not None:
            found[user_id] = InvalidManifest("", f"{declaration.origin}: {denied}")
        else:
            signed = policies is not None and policies.wants_signatures(model.namespace)
            found[user_id] = Wanted(model.spec.model, signed)
        origins[user_id] = declaration.origin
    return found


async def serve(users: ModelInfoRepository, listening: socket.socket, lifeline: int) -> None:
    """Answer on a socket until the process that started this one has ended."""
    settings = ServerSettings.load()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    def parent_left() -> None:
        loop.call_soon_threadsafe(stop.set)

    when_closed(lifeline, parent_left)
    workers = workers_of(settings)
    loads = loads_of(settings, workers)
    checker = checker_of(settings, workers)
    models = models_of(settings, None, None if loads is None else loads.load, checker)
    plane = DataPlane(
        users,
        models,
        load_timeout_s=settings.load_timeout_s + _READ_S,
        predict_timeout_s=settings.predict_timeout_s,
        loads=_LOADS,
    )
    app = make_app(
        users,
        models,
        server_id="local",
        predict_timeout_s=settings.predict_timeout_s,
        max_body_bytes=settings.max_body_bytes,
        data_plane=plane,
        pool=workers,
    )
    if workers is not None:
        workers.start()
        await workers.until_ready()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await stop.wait()
    await runner.cleanup()
    if workers is not None:
        workers.close()


@click.command()
@click.option("--source", required=True)
@click.option("--socket-fd", type=int, required=True)
@click.option("--lifeline-fd", type=int, required=True)
def command(source: str, socket_fd: int, lifeline_fd: int) -> None:
    """Answer on an inherited socket until the process that started this one has ended."""
    logs.configure("error", process="local")
    listening = socket.socket(fileno=socket_fd)
    listening.setblocking(False)
    run_async(serve(users_of(source), listening, lifeline_fd))


if __name__ == "__main__":
    run(command, "local_server")
