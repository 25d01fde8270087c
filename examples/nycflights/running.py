"""What the demonstration runs: `tenantry up`, requests to it, and looks into its registry."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry.registry import RegistryReader
from tenantry_cli.views import overview

_PATIENCE_S = 600.0


class WrongStepError(Exception):
    """A step of the demonstration did not do what it shows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a server."""

    status: int
    body: Any
    model_id: str
    ms: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demonstration keeps its files."""

    root: Path

    @property
    def manifests(self) -> Path:
        """The folder that `tenantry up` follows."""
        return self.root / "manifests"

    @property
    def models(self) -> Path:
        """The model repository."""
        return self.root / "models"

    @property
    def state(self) -> Path:
        """The folder of the registry, and of `up.json`."""
        return self.root / "state"

    @property
    def registry_url(self) -> str:
        """The registry of `tenantry up`."""
        return f"sqlite:///{self.state}/registry.db"


@contextlib.contextmanager
def serving(place: Place, port: int = 0) -> Iterator[str]:
    """Run `tenantry up` as a process of its own, and yield the address of its servers."""
    command = [sys.executable, "-m", "tenantry_cli", "up", str(place.manifests)]
    command += ["--state", str(place.state), "--port", str(port), "--log-level", "warning"]
    (place.state / "up.json").unlink(missing_ok=True)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        announced = place.state / "up.json"
        until(lambda: announced.exists() or process.poll() is not None, "tenantry up did not start")
        if process.poll() is not None:
            raise WrongStepError(f"`tenantry up` ended with exit status {process.returncode}")
        yield str(json.loads(announced.read_text())["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def predict(url: str, user_id: str, rows: list[dict[str, float]]) -> Answer:
    """Ask for one prediction."""
    request = urllib.request.Request(f"{url}/predict/{user_id}", data=json.dumps(rows).encode())
    began_s = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            body = json.loads(reply.read())
            ms = (time.perf_counter() - began_s) * 1e3
            return Answer(reply.status, body, reply.headers["Tenantry-Model-Id"], ms)
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.loads(error.read()), "", 0.0)


def server_endpoints(place: Place) -> dict[str, str]:
    """Return the endpoint of each live server by its id; an endpoint changes when its server restarts."""
    with RegistryReader.of_existing(place.registry_url) as registry:
        return {server.server_id: server.endpoint for server in overview.live_servers(registry)}


def ready_generations(place: Place, user_id: str | None = None) -> list[int]:
    """Return the generation of each tenant that is Ready, or of that of one user."""
    with RegistryReader.of_existing(place.registry_url) as registry:
        found = overview.tenants(registry, named=user_id)
    return [tenant.claim.generation for tenant in found if tenant.ready == "True"]


def until(true: Callable[[], bool], otherwise: str, *, every_s: float = 0.02) -> None:
    """Wait for a condition; one that takes CPU is asked for less often than `every_s`.

    Raises:
        WrongStepError: it did not come true within ten minutes.
    """
    give_up_s = time.monotonic() + _PATIENCE_S
    while True:
        began_s = time.thread_time()
        if true():
            return
        if time.monotonic() > give_up_s:
            raise WrongStepError(otherwise)
        time.sleep(max(every_s, 4 * (time.thread_time() - began_s)))


def empty(folder: Path) -> None:
    """Remove what an earlier run left, and nothing else."""
    mark = folder / ".made-by-the-demo"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise SystemExit(f"{folder} holds files of yours; choose another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
