"""A real server is ready only once its pinned and hot tenants are in memory, and a restart needs no S3."""

import io
import os
import pickle
import re
import signal
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from tenantry.manifest.spec import ModelSource
from tenantry.placement import owners
from tenantry.registry import Assignment, Writes, open_engine
from tenantry_operator.artifacts.s3 import S3Resolver
from tenantry_server.artifacts.s3 import make_client
from tests.support.databases.migrated import migrate
from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child
from tests.support.processes.launching import TENANTRY
from tests.support.processes.up import Reply, ask
from tests.support.tenants.hostile.models import HeldUp
from tests.support.tenants.operator_side import leading
from tests.support.tenants.shards import held
from tests.support.waiting import until

SERVER = "server-0"


def artifact(slope: float) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, slope]), buffer)
    return buffer.getvalue()


class Served:
    """A registry that holds rows, and one server of it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/registry.db"
        self.engine = open_engine(self.url)
        migrate(self.engine)
        self.operator = leading(self.engine)
        self.operator.assign_shards(held(owners([SERVER])))
        self.child: Child | None = None

    def assign(self, user_id: str, model_id: str, *, prewarm: bool = False) -> None:
        row = Assignment(user_id, f"uid-{user_id}", 1, model_id, prewarm=prewarm)
        self.operator.commit(Writes(assignments=[row]))

    def start(self, env: Mapping[str, str] | None = None) -> None:
        own = {"TENANTRY_REGISTRY_URL": self.url, "TENANTRY_SANDBOX_FOLDERS": str(self.folder)}
        whole = {**os.environ, **own, **(env or {})}
        self.child = Child([*TENANTRY, "serve"], log=self.folder / "log", env=whole)
        # The lease of the one before may still stand.
        until(lambda: f'"pid": {self.pid}, "event": "serving"' in self.log, "it listens")
        self.base = re.findall(r'"url": "(http\S+)"', self.log)[-1]

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop(grace_s=20)
            self.child = None

    def get(self, path: str) -> Reply:
        return ask(urllib.request.Request(self.base + path))

    def until_ready(self) -> None:
        until(lambda: self.get("/readyz").status == 200, "it is ready")

    def predict(self, user_id: str) -> Reply:
        return ask(urllib.request.Request(f"{self.base}/predict/{user_id}", data=b'{"instances": [[2]]}'))

    def answer(self, user_id: str) -> float:
        return float(self.predict(user_id).body["predictions"][0])

    def count(self, name: str) -> float:
        """A metric of the server that runs."""
        (found,) = re.findall(
            rf"^tenantry_cache_{name} (\S+)$", str(self.get("/metrics").body), re.MULTILINE
        )
        return float(found)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.stop()
    served.engine.dispose()


@pytest.fixture
def held_up(served: Served, tmp_path: Path) -> HeldUp:
    """Ann's pinned model, whose load does not end until it is allowed to."""
    model = HeldUp(joblib.load(io.BytesIO(artifact(3.0))), tmp_path)
    path = tmp_path / "ann.joblib"
    path.write_bytes(pickle.dumps(model))
    served.assign("ann", path.as_uri(), prewarm=True)
    return model


def test_ready_means_that_the_pinned_tenant_is_in_memory(served: Served, held_up: HeldUp) -> None:
    served.start()
    until(held_up.begun.exists, "the load has begun")
    for _ in range(10):
        assert served.get("/healthz").status == 200
        assert served.get("/readyz").status == 503
    held_up.allowed.touch()
    served.until_ready()
    assert served.count("models") == 1
    assert served.answer("ann") == pytest.approx(6.0)
    assert served.count("cold_loads_total") == 1
    # Waiting would be a miss.
    assert served.count("misses_total") == 1


def test_a_load_that_does_not_end_holds_readiness_up_for_a_while_only(
    served: Served, held_up: HeldUp
) -> None:
    served.start({"TENANTRY_PREWARM_S": "0.1"})
    served.until_ready()
    held_up.allowed.touch()
    until(lambda: served.count("models"), "it went on")


@pytest.mark.parametrize("workers", [0, 4])
def test_a_load_that_does_not_end_does_not_hold_up_the_end(
    served: Served, held_up: HeldUp, workers: int
) -> None:
    """A store is silent, or a pickle never returns: a thread can't be ended, a process can."""
    served.start({"TENANTRY_WORKERS": str(workers)})
    until(held_up.begun.exists, "the load has begun")
    assert served.child is not None
    os.kill(served.pid, signal.SIGTERM)
    child = served.child
    until(lambda: not child.running, "it has ended")
    assert ("ending in the middle of loads or predictions" in served.log) == (workers == 0)
    assert '"event": "stopped"' in served.log
    assert "never retrieved" not in served.log


LINGERING = """
import atexit
import time

from tenantry import Model


class Lingering(Model):
    def __init__(self):
        atexit.register(time.sleep, 3600)

    def predict(self, data):
        return data.to_numpy()[:, 0]
"""


@pytest.mark.parametrize("workers", [0, 4])
def test_a_library_that_does_not_end_does_not_hold_up_the_end_and_is_named(
    served: Served, tmp_path: Path, workers: int
) -> None:
    """Everything was handed over by then; in the server's own process, the stack says who it was."""
    (tmp_path / "lingering.py").write_text(LINGERING)
    (tmp_path / "ann.toml").write_text('class = "lingering:Lingering"')
    served.assign("ann", (tmp_path / "ann.toml").as_uri(), prewarm=True)
    served.start({"PYTHONPATH": str(tmp_path), "TENANTRY_WORKERS": str(workers)})
    served.until_ready()
    assert served.child is not None
    os.kill(served.pid, signal.SIGTERM)
    child = served.child
    until(lambda: not child.running, "it has ended")
    told = served.log.partition('"event": "stopped"')[2]
    assert ("Timeout (0:00:10)!" in told) == (workers == 0)
    assert ("Current thread" in told or "Thread 0x" in told) == (workers == 0)


def test_after_a_restart_those_who_were_answered_last_are_in_memory(served: Served, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.joblib").write_bytes(artifact(float(number)))
        served.assign(f"user-{number}", (tmp_path / f"{number}.joblib").as_uri())
    served.start()
    served.until_ready()
    assert served.count("models") == 0
    assert [served.predict(f"user-{number}").status for number in (0, 2)] == [200, 200]
    served.stop()
    served.start()
    served.until_ready()
    assert served.count("models") == served.count("misses_total") == 2
    assert served.answer("user-2") == pytest.approx(4.0)
    assert served.count("misses_total") == 2


def test_a_restart_needs_no_s3_for_what_is_on_the_disk(
    served: Served, tmp_path: Path, s3_bucket: str
) -> None:
    make_client().put_object(Bucket=s3_bucket, Key="a.joblib", Body=artifact(5.0))
    source = ModelSource(uri=f"s3://{s3_bucket}/a.joblib")
    served.assign("ann", str(S3Resolver(None, connections=1).resolve(source)), prewarm=True)
    disk = {"TENANTRY_DISK_CACHE_DIR": str(tmp_path / "disk")}
    served.start(disk)
    served.until_ready()
    until(lambda: list((tmp_path / "disk").glob("v1/??/*")), "it is written")
    served.stop()
    served.start({**disk, "TENANTRY_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}"})
    served.until_ready()
    assert served.answer("ann") == pytest.approx(10.0)
    assert "tenantry_disk_hits_total 1.0" in str(served.get("/metrics").body)
