"""The other servers: how each is set up with the same tenants, on the same core, and asked.

Each is a context manager that yields an Endpoint, or raises PeerUnavailable with the reason.
"""

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path

from tests.support.network.ports import free_ports
from tests.support.processes.child_process import ChildFailed

from benchmarks.serving import children
from benchmarks.serving.endpoint import JSON, Ask, Endpoint, by_path
from benchmarks.serving.environments import PeerUnavailable, provide
from benchmarks.serving.tenants import ROW, Tenants

Contender = Callable[[Tenants, Path], AbstractContextManager[Endpoint]]
_PROGRAMS = Path(__file__).parent / "peers"
_ANY = r"(\d+)"


@contextmanager
def bare(tenants: Tenants, folder: Path) -> Iterator[Endpoint]:
    """A bare aiohttp handler on uvloop, in our own environment; its answers are never right."""
    log = folder / "bare.log"
    argv = [sys.executable, str(_PROGRAMS / "bare.py")]
    with children.running(argv, log=log, ready=lambda text: "port " in text) as child:
        port = children.printed(f"port {_ANY}", log)
        yield Endpoint(
            "bare aiohttp", f"http://127.0.0.1:{port}", by_path(tenants), pid=child.pid, constant=True
        )


@contextmanager
def flask(tenants: Tenants, folder: Path) -> Iterator[Endpoint]:
    """The usual Flask service, gunicorn with one synchronous worker."""
    ours = tuple(f"{name}=={version(name)}" for name in ("SQLAlchemy", "cachetools"))
    programs = provide("flask", "flask==3.*", "gunicorn==23.*", *ours)
    database = folder / "flask.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE user_models (user_id VARCHAR PRIMARY KEY, model_id VARCHAR NOT NULL)")
    rows = [(tenants.user_id(n), str(tenants.path(n))) for n in range(tenants.count)]
    connection.executemany("INSERT INTO user_models VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    log = folder / "flask.log"
    argv = [str(programs / "gunicorn"), "--workers", "1", "--bind", "127.0.0.1:0", "flask_app:app"]
    env = {"DATABASE_URL": f"sqlite:///{database}", "MODELS": str(tenants.folder)}
    with _started("flask", [*argv, "--chdir", str(_PROGRAMS)], log, "Listening at: ", env):
        port = children.printed(f"Listening at: http://127.0.0.1:{_ANY}", log)
        yield Endpoint("Flask, gunicorn", f"http://127.0.0.1:{port}", by_path(tenants))


@contextmanager
def mlserver(tenants: Tenants, folder: Path) -> Iterator[Endpoint]:
    """MLServer without worker processes or metrics; the row as one V2 tensor in JSON."""
    programs = provide("mlserver", "mlserver==1.7.*", "mlserver-sklearn==1.7.*")
    models = folder / "mlserver"
    http, grpc, metrics = free_ports(3)
    models.mkdir()
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (models / "settings.json").write_text(json.dumps(settings))
    for n in range(tenants.count):
        own = models / tenants.user_id(n)
        own.mkdir()
        parameters = {"uri": str(tenants.path(n)), "version": "v1"}
        declared = {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
        (own / "model-settings.json").write_text(json.dumps({"name": tenants.user_id(n), **declared}))
    tensor = {"name": "row", "shape": [1, len(ROW)], "datatype": "FP64", "data": list(ROW.values())}
    argv = [str(programs / "mlserver"), "start", str(models)]
    # The models were fitted with names and get none: scikit-learn's warning need not be formatted, too.
    env = {"PYTHONWARNINGS": "ignore"}
    with _started("mlserver", argv, folder / "mlserver.log", "", env) as child:
        url = f"http://127.0.0.1:{http}"
        _until_ready("mlserver", f"{url}/v2/health/ready")
        yield Endpoint(
            "MLServer",
            url,
            tuple(Ask(f"/v2/models/{tenants.user_id(n)}/infer") for n in range(tenants.count)),
            body=json.dumps({"inputs": [tensor]}).encode(),
            pid=child,
            read=lambda answer: float(answer["outputs"][0]["data"][0]),
            grpc=f"127.0.0.1:{grpc}",
        )


@contextmanager
def ray(tenants: Tenants, folder: Path) -> Iterator[Endpoint]:
    """Ray Serve, one multiplexed replica; the user stands in its header."""
    programs = provide("ray", "ray[serve]==2.*")
    models = folder / "ray"
    models.mkdir()
    for n in range(tenants.count):
        os.link(tenants.path(n), models / f"{tenants.user_id(n)}.joblib")
    (port,) = free_ports(1)
    temporary = tempfile.mkdtemp(prefix="ray")  # short: its sockets' names may have 107 characters
    argv = [str(programs / "python"), str(_PROGRAMS / "ray_app.py"), str(models), str(port), temporary]
    env = {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        with _started("ray", argv, folder / "ray.log", "serving\n", env, timeout_s=120):
            yield Endpoint(
                "Ray Serve",
                f"http://127.0.0.1:{port}",
                tuple(
                    Ask("/", {**JSON, "serve_multiplexed_model_id": tenants.user_id(n)})
                    for n in range(tenants.count)
                ),
            )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _started(
    name: str, argv: list[str], log: Path, ready: str, env: dict[str, str], timeout_s: float = 60
) -> Iterator[int]:
    """The pid of a peer that printed `ready`."""
    try:
        with children.running(
            argv, log=log, ready=lambda text: ready in text, env=env, timeout_s=timeout_s
        ) as child:
            yield child.pid
    except ChildFailed as error:
        raise PeerUnavailable(f"{name} did not start: {str(error).splitlines()[-1]}") from error


def _until_ready(name: str, url: str) -> None:
    try:
        children.until_ok(url)
    except AssertionError as error:
        raise PeerUnavailable(f"{name} did not start: {error}") from error


CONTENDERS: dict[str, Contender] = {"bare": bare, "flask": flask, "mlserver": mlserver, "ray": ray}
