"""How `tenantry up` begins and ends."""

import os
import signal
import socket
from pathlib import Path

import pytest
from sklearn.linear_model import LinearRegression

from tenantry.processes import launcher
from tenantry_server import publish
from tenantry_server.workers import fork_server
from tests.support.databases.postgres import PostgresServer
from tests.support.processes import up as ups
from tests.support.processes.up import tenantry
from tests.support.waiting import until


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One tenant, ann, who gets twice her x."""
    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    publish(fitted, user_id="ann", to=tmp_path / "models", manifests=tmp_path / "manifests")
    return tmp_path


_ON_ITS_OWN = {fork_server.VARIABLE: "", launcher.VARIABLE: ""}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@pytest.mark.parametrize(
    ("signum", "servers"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1), (signal.SIGINT, 1)]
)
def test_no_process_outlives_up(home: Path, signum: signal.Signals, servers: int) -> None:
    """Not even when it has no chance to say goodbye. What forks for it is its own, and not the tests'."""
    state = home / "state"
    with ups.running(home / "manifests", state, servers=servers, env=_ON_ITS_OWN) as up:
        pids = until(lambda: up.pids if len(up.pids) == 1 + servers else None, "all have started")
        assert pids is not None
        family = {*pids.values(), *_children(up._child.pid)}
        assert len(family) == 1 + servers + 2
        os.kill(up._child.pid, signum)
        until(lambda: not any(map(_alive, family)), "every process has ended")
    if signum is not signal.SIGKILL:
        assert [line["event"] for line in up.log].count("stopped") == 1 + servers


def test_what_was_started_again_does_not_outlive_up_either(home: Path) -> None:
    """It shares its pipe with processes that have used it otherwise meanwhile, and nobody forks for it."""
    with ups.running(home / "manifests", home / "state", env=_ON_ITS_OWN) as up:
        first = until(lambda: up.pids if len(up.pids) == 3 else None, "all three have started")
        assert first is not None
        for pid in {*_children(up._child.pid), *first.values()}:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not set(up.pids.values()) & set(first.values()), "all three were started again")
        os.kill(up._child.pid, signal.SIGKILL)
        until(lambda: not any(map(_alive, up.pids.values())), "every process has ended")


def test_a_tenant_whose_artifact_is_missing_is_known_but_not_ready(home: Path) -> None:
    (home / "manifests" / "bob.yaml").write_text(
        "apiVersion: tenantry.dev/v1alpha1\nkind: TenantModel\nmetadata: {name: bob}\n"
        f"spec: {{userId: bob, model: {{uri: 'file://{home}/nowhere/bob.joblib'}}}}\n"
    )
    with ups.running(home / "manifests", home / "state", servers=1) as up:
        up.until_ready(1)
        up.until_settled("bob", "ArtifactNotFound")
        reply = until(lambda: _not_404(up, "bob"), "the server knows of bob")
        assert reply is not None
        assert (reply.status, reply.reason) == (503, "ModelNotReady")
        assert reply.headers["Retry-After"] == "1"


def _not_404(up: ups.Up, user_id: str) -> ups.Reply | None:
    reply = up.predict(user_id, [])
    return None if reply.status == 404 else reply


def test_a_restart_serves_what_was_served_and_another_folder_is_refused(home: Path) -> None:
    """To go on with it would remove every tenant of the first."""
    (home / "other").mkdir()
    for _ in range(2):
        with ups.running(home / "manifests", home / "state", servers=1) as up:
            answer = until(lambda up=up: up.instance("ann", 4.0), "served")  # type: ignore[misc]
            assert answer == pytest.approx(8.0)
            url = up.registry_url
        other = [str(home / "other"), "--state", str(home / "s2"), "--port", "0", "--registry", url]
        done = tenantry("up", *other)
        assert done.returncode == 1
        told = f"this registry follows folder {home / 'manifests'}, not folder {home / 'other'}"
        assert told in done.stderr


def test_postgresql_and_s3_instead_of_sqlite_and_a_folder(
    tmp_path: Path, postgres: PostgresServer, s3_bucket: str
) -> None:
    manifests = tmp_path / "manifests"
    for slope in (2.0, 3.0):
        fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
        publish(fitted, user_id="ann", to=f"s3://{s3_bucket}/models", manifests=manifests)
        state = tmp_path / f"state-{slope}"
        if slope == 2.0:
            url = postgres.database()
        with ups.running(manifests, state, registry_url=url, servers=1) as up:
            until(lambda up=up: up.tenants("ann"), "seen")  # type: ignore[misc]
            up.until_settled("ann", "Ready")
            wanted = pytest.approx(4 * slope)
            until(lambda up=up, w=wanted: up.instance("ann", 4.0) == w, f"slope {slope} served")  # type: ignore[misc]


def test_a_port_that_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = tenantry("up", str(home / "manifests"), "--state", str(home / "s"), "--port", port)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: can't listen on 127.0.0.1:{port} (Address already in use); choose another --port\n"
    )


def test_losing_most_of_the_folder_needs_a_word(home: Path) -> None:
    for number in range(60):
        fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, float(number)])
        publish(fitted, user_id=f"u{number}", to=home / "models", manifests=home / "manifests")
    with ups.running(home / "manifests", home / "state", servers=1) as up:
        up.until_ready(61)
        for path in up.manifests.glob("*.yaml"):
            if path.name != "u0.yaml":  # of an empty folder nobody is removed, whatever their number
                path.unlink()
        until(lambda: any("refusing to remove" in line["event"] for line in up.log), "refused")
        assert up.instance("u7", 1.0) == pytest.approx(7.0)
    with ups.running(home / "manifests", home / "state", "--allow-mass-delete", servers=1) as up:
        until(lambda: [each["userId"] for each in up.tenants()] == ["u0"], "removed")
        until(lambda: up.predict("u7", {"instances": [[1.0]]}).status == 404, "not served")
