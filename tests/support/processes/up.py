"""`tenantry up` as a user runs it: a process of its own, asked over HTTP and through the command."""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry.placement import SHARDS
from tenantry.registry import RegistryReader
from tenantry_cli.commands.looking.get import as_document
from tenantry_cli.views import overview
from tests.support.processes import launching
from tests.support.processes.child_process import Child
from tests.support.processes.launching import TENANTRY
from tests.support.waiting import PATIENCE_S, until


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Of an error."""
        return str(self.body["error"]["reason"])


class Up:
    """A running `tenantry up`.

    Attributes:
        url: the clients' address.
        manifests: the folder that it follows.
    """

    def __init__(self, child: Child, manifests: Path, state: Path, registry_url: str) -> None:
        self._child = child
        self.manifests = manifests
        self.state = state
        self.registry_url = registry_url
        self.url = ""

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every structured line so far, of all processes."""
        lines = (self.state / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def pids(self) -> dict[str, int]:
        """The newest process id of the operator and of each server."""
        started = [line for line in self.log if line["event"] in ("leading", "serving")]
        return {line["process"]: line["pid"] for line in started}

    def predict(self, user_id: str, rows: Any, url: str | None = None) -> Reply:
        """Ask for one prediction; `rows` is JSON, or bytes as they are."""
        body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        address = f"{url or self.url}/predict/{urllib.parse.quote(user_id)}"
        return ask(urllib.request.Request(address, data=body))

    def instance(self, user_id: str, *values: float) -> float | None:
        """The prediction for one row of plain values; None where there is none (yet)."""
        reply = self.predict(user_id, {"instances": [values]})
        return float(reply.body["predictions"][0]) if reply.status == 200 else None

    def get(self, *args: str) -> Any:
        """What `tenantry get ARGS -o json` prints."""
        done = self.tenantry("get", *args, "-o", "json", "--registry", self.registry_url)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def tenantry(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """Run the command."""
        return tenantry(*args)

    def status(self, user_id: str) -> dict[str, Any]:
        """The Ready condition of a user's TenantModel, with its generation and model."""
        (tenant, *_) = self.tenants(user_id)
        ready = next(c for c in tenant["status"]["conditions"] if c["type"] == "Ready")
        return {**tenant["status"], **ready, "generation": tenant["generation"]}

    def tenants(self, like: str | None = None) -> list[dict[str, Any]]:
        """As `get`, read in this process: quick enough to ask again and again."""
        with RegistryReader.of_existing(self.registry_url) as registry:
            return [as_document(tenant) for tenant in overview.tenants(registry, named=like)]

    def servers(self) -> list[str]:
        """Base URLs of the live servers."""
        with RegistryReader.of_existing(self.registry_url) as registry:
            return [server.endpoint for server in overview.live_servers(registry)]

    def all_reachable(self) -> bool:
        """Whether every live server answers that it is ready."""
        try:
            replies = [ask(urllib.request.Request(f"{url}/readyz")) for url in self.servers()]
        except OSError:
            return False
        return all(reply.status == 200 for reply in replies)

    def until_shared(self, servers: int) -> None:
        """Until so many servers hold all shards, and none is being handed over."""

        def shared() -> bool:
            with RegistryReader.of_existing(self.registry_url) as registry:
                held = registry.shards().values()
            moving = any(each.next_id is not None for each in held)
            return len(held) == SHARDS and not moving and len({each.server_id for each in held}) == servers

        until(shared, f"{servers} servers hold the shards")

    def until_ready(self, count: int, *, timeout_s: float = PATIENCE_S) -> None:
        """Until so many tenants are Ready."""

        def ready() -> bool:
            return sum(map(_is_ready, self.tenants())) >= count

        until(ready, f"{count} tenants Ready", timeout_s=timeout_s, every_s=0.2)

    def until_settled(self, user_id: str, reason: str, *, after: int = 0) -> dict[str, Any]:
        """Until a generation of a tenant later than `after` has this reason."""

        def settled() -> dict[str, Any] | None:
            if not self.tenants(user_id):
                return None
            status = self.status(user_id)
            newest = status["observedGeneration"] == status["generation"] > after
            return status if newest and status["reason"] == reason else None

        found = until(settled, f"{user_id} {reason}")
        assert found is not None
        return found


def _is_ready(tenant: dict[str, Any]) -> bool:
    conditions = tenant["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def tenantry(
    *args: str, cwd: Path | None = None, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `tenantry ARGS` to its end."""
    whole = {**os.environ, **(env or {})}
    return launching.run(args, env=whole, timeout_s=3 * PATIENCE_S, cwd=cwd, stdin=stdin or "")


def ask(request: urllib.request.Request) -> Reply:
    """Send a request; an error status is an answer too."""
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return Reply(answer.status, _json(answer.read()), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return Reply(error.code, _json(error.read()), dict(error.headers))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@contextmanager
def running(
    manifests: Path,
    state: Path,
    *args: str,
    servers: int = 2,
    registry_url: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Up]:
    """`tenantry up` on a port that the system chose, ended with the block."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "up.json").unlink(missing_ok=True)
    url = registry_url or f"sqlite:///{state}/registry.db"
    command: Sequence[str] = [*TENANTRY, "up", str(manifests), "--state", str(state), "--port", "0"]
    command = [*command, "--servers", str(servers), "--registry", url, *args]
    child = Child(command, log=state / "log", env={**os.environ, **(env or {})})
    up = Up(child, manifests, state, url)
    try:
        child.wait_ready((state / "up.json").exists, timeout_s=PATIENCE_S)
        up.url = json.loads((state / "up.json").read_text())["url"]
        yield up
    finally:
        child.stop(grace_s=30)
