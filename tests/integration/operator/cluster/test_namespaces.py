"""Namespaces of a real API server, as an operator reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.kubernetes.control_plane import ControlPlane, write_kubeconfig

_READ = """
import asyncio, json, os, sys
from tenantry_operator.cluster.client import Cluster, ClusterError

async def main():
    async with Cluster(None) as cluster:
        read = {"uid": await cluster.uid(), "labels": await cluster.namespace_labels()}
    os.environ["KUBECONFIG"] = os.environ["NOBODYS"]
    async with Cluster(None) as cluster:
        try:
            await cluster.uid()
        except ClusterError as error:
            read["refused"] = str(error)
    read["large"] = [name for name in sys.modules if name.endswith(".core_v1_api")]
    print(json.dumps(read))

asyncio.run(main())
"""


def test_namespaces_are_read_without_the_core_apis_classes(plane: ControlPlane, tmp_path: Path) -> None:
    """Their import took an operator longer than all else of its start."""
    named = {"name": "labelled", "labels": {"team": "blue"}}
    assert plane.request("POST", "/api/v1/namespaces", {"metadata": named})[0] == 201
    nobodys = tmp_path / "nobody"
    write_kubeconfig(nobodys, plane.url, plane.ca_file, plane.tokens["nobody"])
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig), "NOBODYS": str(nobodys)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    _, kube_system = plane.request("GET", "/api/v1/namespaces/kube-system")
    assert read["uid"] == kube_system["metadata"]["uid"]
    assert read["labels"]["labelled"]["team"] == "blue"
    assert "403 " in read["refused"]
    assert "kube-system" in read["refused"]
    assert read["large"] == []
