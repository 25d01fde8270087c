"""Where statuses are read from: what may answer later is told from what will not."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tenantry.errors import RegistryMismatch
from tenantry_airflow.cluster import Cluster, ClusterRefusedError
from tenantry_airflow.registry import RegistrySource
from tenantry_airflow.sources import SourceUnavailableError
from tenantry_airflow.where import Where


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Of an API server that refuses every connection: a bound port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{bound.getsockname()[1]}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "gone", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "gone", "user": "me"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        yield path


def test_an_api_server_that_is_gone_is_asked_again(kubeconfig: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="the API server gave no answer"):
        Cluster(str(kubeconfig)).listed({"default"})


def test_a_context_that_is_not_there_is_an_error(kubeconfig: Path) -> None:
    """Nothing but another setting helps, so that no task waits an hour for it."""
    with pytest.raises(ClusterRefusedError, match="elsewhere"):
        Cluster(str(kubeconfig), "elsewhere").listed({"default"})


def test_without_a_pod_and_a_kubeconfig_there_are_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for cluster in (Cluster(str(tmp_path / "none")), Cluster(in_cluster=True)):
        with pytest.raises(ClusterRefusedError, match="no credentials for a cluster"):
            cluster.listed({"default"})


def test_a_registry_that_nobody_set_up_is_an_error(tmp_path: Path) -> None:
    source = Where(f"sqlite:///{tmp_path}/registry.db").source()
    assert isinstance(source, RegistrySource)
    with pytest.raises(RegistryMismatch, match="start one with `tenantry up FOLDER`"):
        source.listed({"default"})
