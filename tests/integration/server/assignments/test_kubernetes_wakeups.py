"""The API server wakes a model server, and can do it no harm."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tenantry import TenantModel
from tenantry_server.assignments import kubernetes_wakeups
from tests.support.kubernetes.control_plane import ControlPlane, write_kubeconfig
from tests.support.kubernetes.home import TENANT_MODELS, install_crd
from tests.support.waiting import PATIENCE_S


@asynccontextmanager
async def _watching(wake: Callable[[], None]) -> AsyncIterator[None]:
    watching = asyncio.create_task(kubernetes_wakeups.run("default", wake))
    try:
        yield
    finally:
        assert not watching.done(), "nothing may end it but its server"
        watching.cancel()


def _manifest(name: str) -> dict[str, object]:
    model = {"uri": "file:///nowhere/at-all.joblib"}
    metadata = {"namespace": "default", "name": name}
    head = {"apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel", "metadata": metadata}
    return TenantModel.parse({**head, "spec": {"userId": name, "model": model}}).to_manifest()


async def _until_called(woken: asyncio.Event, act: Callable[[], object]) -> None:
    """Act again and again until there was a call: the watch may not stand yet at the first."""
    async with asyncio.timeout(PATIENCE_S):
        while not woken.is_set():
            await asyncio.to_thread(act)
            await asyncio.sleep(0.05)


async def test_whatever_happens_to_a_tenantmodel_is_a_wake_up(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_crd(plane)
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    woken = asyncio.Event()

    def toggle() -> None:
        if plane.request("POST", TENANT_MODELS, _manifest("woken"))[0] == 409:
            plane.request("DELETE", f"{TENANT_MODELS}/woken")

    async with _watching(woken.set):
        await _until_called(woken, toggle)
    plane.request("DELETE", f"{TENANT_MODELS}/woken")


async def test_without_the_right_to_watch_it_waits_and_says_so_once(
    plane: ControlPlane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_crd(plane)
    write_kubeconfig(tmp_path / "nobody", plane.url, plane.ca_file, plane.tokens["nobody"])
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nobody"))
    monkeypatch.setattr(kubernetes_wakeups, "_RETRY_S", 0.01)
    tried = asyncio.Event()
    tries = 0
    connect = kubernetes_wakeups._watch

    async def counted(*args: object) -> None:
        nonlocal tries
        tries += 1
        if tries > 2:
            tried.set()
        await connect(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(kubernetes_wakeups, "_watch", counted)
    async with _watching(lambda: pytest.fail("there was nothing to see")), asyncio.timeout(PATIENCE_S):
        await tried.wait()
    assert capsys.readouterr().out.count("no wake-ups from the API server") == 1
