"""`tenantry top` over two real servers, and `kubectl tenantry top` around it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from tenantry.registry import ServerRegistry, ServerReport, open_engine
from tenantry_cli.commands.looking.top import command
from tenantry_cli.plugin.commands import cli
from tenantry_server.access.gate import Gate
from tenantry_server.toys import ErrorModel, SumModel
from tests.support.databases.migrated import migrate
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster
from tests.support.tenants.callers import gate_of

ROWS = {"instances": [[1.0, 2.0]]}
HOLDERS = {"ann": "a", "bob": "b", "eve": "b"}


class Fleet:
    """Servers a and b, of which a registry tells."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.url = f"sqlite:///{folder}/registry.db"
        self.engine = open_engine(self.url)
        migrate(self.engine)
        for name, node in cluster.nodes.items():
            self.announce(name, node.url)

    def announce(self, name: str, url: str) -> None:
        registry = ServerRegistry(self.engine, name, endpoint=url, capacity_bytes=1)
        registry.renew(lease_s=600.0, acked_revision=0, report=ServerReport())

    async def ask(self, server: str, user_id: str, status: int = 200) -> None:
        url = f"{self.cluster[server].url}/predict/{user_id}"
        async with aiohttp.ClientSession() as session, session.post(url, json=ROWS) as response:
            assert response.status == status, await response.text()

    async def top(self, *args: str, stdin: str = "") -> Result:
        arguments = [*args, "--registry", self.url]
        return await asyncio.to_thread(CliRunner().invoke, command, arguments, input=stdin)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    models = {"ann": SumModel, "bob": SumModel, "eve": ErrorModel}
    async with cluster.running(models, HOLDERS, names="ab") as pair:
        fleet = Fleet(pair, tmp_path)
        yield fleet
        fleet.engine.dispose()


async def test_what_tenants_do_is_added_up_over_all_servers(fleet: Fleet) -> None:
    for server in "ab":
        for user_id, times in (("ann", 3), ("bob", 1)):
            for _ in range(times):
                await fleet.ask(server, user_id)
        await fleet.ask(server, "eve", 500)
    document = json.loads((await fleet.top("-o", "json")).stdout)
    assert document["servers"] == 2
    assert {one["userId"]: one["requests"] for one in document["tenants"]} == {"ann": 6, "bob": 2, "eve": 2}
    assert document["tenants"][0]["userId"] == "ann"
    assert sum(document["tenants"][0]["latency"]["counts"]) == 6
    assert document["tenants"][0]["bytes"] > 0
    done = await fleet.top("--by", "errors")
    assert [line.split()[:4] for line in done.stdout.splitlines()] == [
        ["USER", "REQUESTS", "4XX", "5XX"],
        ["eve", "2", "0", "2"],
    ]
    assert "2 servers, since 2" in done.stderr
    [line] = (await fleet.top("--limit", "1")).stdout.splitlines()[1:]
    assert line.split()[0] == "ann"


async def test_a_server_that_does_not_answer_is_named_and_the_others_are_shown(fleet: Fleet) -> None:
    await fleet.ask("a", "ann")
    fleet.announce("c", "http://127.0.0.1:1")
    done = await fleet.top()
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1].split()[:2] == ["ann", "1"]
    assert "c is left out: no answer from http://127.0.0.1:1" in done.stderr


async def test_a_closed_list_is_reported_in_words(tmp_path: Path) -> None:
    closed: Any = {"gate": lambda _: Gate()}
    async with cluster.running({"ann": SumModel}, {"ann": "a"}, names="a", **closed) as alone:
        fleet = Fleet(alone, tmp_path)
        done = await fleet.top()
        fleet.engine.dispose()
    assert done.exit_code == 1
    assert "a is left out: 403 Forbidden: this is closed; set TENANTRY_OPEN_LISTS=true" in done.stderr
    assert done.stdout == "", "no table of nothing"


_SHIM = """#!{python}
import json, os, sys
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
command = sys.argv[sys.argv.index("--") + 1 :]
assert command[0] == "python"
os.environ["TENANTRY_REGISTRY_URL"] = {registry!r}
os.environ.pop("TENANTRY_API_KEY", None)  # a pod has none
os.execv(sys.executable, [sys.executable, *command[1:]])
"""


@pytest.mark.parametrize("key", [None, "admin-secret"])
async def test_kubectl_tenantry_top_runs_it_in_a_pod_and_shows_no_key(
    tmp_path: Path, key: str | None
) -> None:
    """In the arguments a key would stand in the API server's audit log, and in the pod's process list."""
    settings: Any = {} if key is None else {"gate": lambda hops: gate_of({key: "*"}, hops)}
    async with cluster.running({"ann": SumModel}, {"ann": "a"}, names="a", **settings) as alone:
        fleet = Fleet(alone, tmp_path)
        await fleet.ask("a", "ann", 200 if key is None else 401)
        calls = tmp_path / "calls"
        shim = tmp_path / "bin" / "kubectl"
        shim.parent.mkdir()
        shim.write_text(_SHIM.format(python=sys.executable, calls=str(calls), registry=fleet.url))
        shim.chmod(0o755)
        env = {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}", "TENANTRY_API_KEY": key}
        given = ["--context", "kind", "-n", "ours", "top", "--by", "bytes", "-o", "json"]
        done = await asyncio.to_thread(CliRunner().invoke, cli, given, env=env)
        fleet.engine.dispose()
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["by"] == "bytes"
    [call] = map(json.loads, calls.read_text().splitlines())
    assert call[: call.index("--")] == [
        *("--context", "kind", "exec"),
        *(["--stdin"] if key else []),
        *("--namespace", "ours", "statefulset/tenantry-server"),
    ]
    assert "admin-secret" not in calls.read_text()
