"""Where the API server is stands in a file that a person wrote, or forgot."""

from pathlib import Path

import pytest

from tenantry_operator.cluster.client import Cluster, ClusterError


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "a: [", "clusters: 3", "\0"])
async def test_a_file_that_is_no_kubeconfig_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is being written just now."""
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(ClusterError, match=r"config.*; set KUBECONFIG$") as raised:
        await Cluster.configured()
    assert str(tmp_path / "config") in str(raised.value)


async def test_a_folder_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path))
    with pytest.raises(ClusterError, match=r"no API server is configured: .*; set KUBECONFIG$"):
        await Cluster.configured()


async def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(ClusterError, match=r"no API server is configured: .*; set KUBECONFIG$"):
        await Cluster.configured()
