"""A fleet as strict as it can be: roles, a secret, keys of callers, and logs that hold none of these.

Servers run under roles that can't change who has which model, and nothing that they do is refused.
"""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import joblib
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sqlalchemy.engine import make_url

from tenantry.registry import (
    KeyBook,
    RegistryReader,
    Scope,
    ServerRegistry,
    ServerReport,
    migrate,
)
from tenantry.registry.access.granting import grant
from tests.support.databases.patient import open_patient
from tests.support.databases.postgres import PostgresServer
from tests.support.processes.fleet import Fleet
from tests.support.processes.up import ask
from tests.support.tenants.hostile.models import EndsOnLoad, Quotes
from tests.support.waiting import until

MARK = "marked-secret"


class Guarded(Fleet):
    """A fleet of whose roles the passwords are known, and of which callers have keys.

    Attributes:
        key: for every user.
        brief: another one.
        admin_url: of the registry, for who owns it.
    """

    passwords: list[str]
    key: str
    brief: str
    admin_url: str


@pytest.fixture(scope="module")
def fleet(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    url = make_url(postgres.database())
    engine = open_patient(url.render_as_string(hide_password=False))
    migrate(engine)
    roles = grant(engine, prefix=str(url.database), server_ids=["server-1"])
    keys = [KeyBook(engine).create(["*"], Scope.PREDICT, 86_400.0) for _ in range(2)]
    engine.dispose()
    urls = [
        url.set(username=role.name, password=role.password).render_as_string(hide_password=False)
        for role in roles
    ]
    folder = tmp_path_factory.mktemp("roles")
    (folder / "tenants").mkdir()
    env = {
        "TENANTRY_FLEET_SECRET": f"{MARK}-fleet",
        "AWS_SECRET_ACCESS_KEY": f"{MARK}-s3",
        "TENANTRY_AUTH": "required",
        "TENANTRY_LOG_LEVEL": "debug",
        "TENANTRY_POLICY_FILE": str(restrict(folder, methods=["predict"])),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    tenants = [str(folder / "tenants")]
    with Guarded(folder / "fleet", urls[0], tenants, servers=0, env=env) as fleet:
        fleet.passwords = [str(role.password) for role in roles]
        fleet.key, fleet.brief = keys
        fleet.admin_url = url.render_as_string(hide_password=False)
        fleet.enroll({"TENANTRY_REGISTRY_URL": urls[1]})
        fleet.enroll({"TENANTRY_REGISTRY_URL": urls[2]})
        fleet.start()
        fleet.until_settled()
        yield fleet


def restrict(folder: Path, **rules: object) -> Path:
    """Write the policy of every namespace."""
    path = folder / "policies.yaml"
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantPolicy",
        "metadata": {"name": "all"},
        "spec": rules,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def reason(fleet: Fleet, user_id: str) -> str | None:
    """Of the user's TenantModel now."""
    found = [claim.status for claim in fleet.registry.claims(named=user_id)]
    return found[0].reason if found and found[0] is not None else None


def until_reason(fleet: Fleet, user_id: str, wanted: str) -> None:
    until(lambda: reason(fleet, user_id) == wanted, f"{user_id} is {wanted}", every_s=0.2)


def asked(fleet: Guarded, user_id: str) -> list[int]:
    """Of each server, the status of its answer."""
    return [answer(fleet, name, user_id) for name in fleet.members]


def answer(fleet: Guarded, name: str, user_id: str, key: str | None = None) -> int:
    body = json.dumps({"instances": [[3.0]]}).encode()
    headers = {"Authorization": f"Bearer {key or fleet.key}"}
    try:
        return ask(urllib.request.Request(f"{fleet.urls[name]}/predict/{user_id}", body, headers)).status
    except OSError:  # it has not started yet
        return 0


def declare(folder: Path, user_id: str, content: object) -> Path:
    """Store an artifact, and a manifest for it; `publish` would try it first."""
    path = folder / f"{user_id}.joblib"
    joblib.dump(content, path)
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": user_id},
        "spec": {"userId": user_id, "model": {"uri": f"file://{path}"}},
    }
    (folder / "tenants" / f"{user_id}.yaml").write_text(yaml.safe_dump(document))
    return path


def test_no_statement_of_a_server_is_refused(fleet: Guarded) -> None:
    """One life, from an apply to a drain: a load, strikes, a fault, hot users, and shards that move."""
    folder = fleet.folder.parent
    ann = declare(folder, "ann", LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]))
    until_reason(fleet, "ann", "Ready")
    assert asked(fleet, "ann") == [200, 200]
    declare(folder, "eve", EndsOnLoad(7))
    until_reason(fleet, "eve", "ModelCrashed")
    aside = ann.rename(ann.with_suffix(".aside"))
    fleet.kill("server-0", "server-1")
    fleet.start()
    until(lambda: asked(fleet, "ann") and reason(fleet, "ann") == "Degraded", "ann is Degraded")
    aside.rename(ann)
    until_reason(fleet, "ann", "Ready")
    fleet.until_settled()
    fleet.terminate("server-1")
    fleet.until_gone("server-1")
    until(lambda: set(fleet.held()) == {"server-0"}, "its shards move")
    assert answer(fleet, "server-0", "ann") == 200
    for name in fleet.children:
        for refusal in ("permission denied", "row-level security"):
            assert refusal not in fleet.log(name), name


REQUESTS = {
    "a number": ("/predict/ann", {"instances": [[3.0]]}),
    "a text for a number": ("/predict/ann", {"instances": [[MARK]]}),
    "an unknown category": ("/predict/fay", [{"c": MARK}]),
    "an error that quotes it": ("/predict/quo", [{"c": MARK}]),
    "an unknown column": ("/predict/fay", [{MARK: 1}]),
    "a broken document": ("/predict/ann", f'{{"{MARK}": '),
    "nobody": ("/predict/nobody", {"instances": [[1.0]]}),
    "KServe V1": ("/v1/models/ann:predict", {"instances": [[MARK]]}),
    "V2": ("/v2/models/ann/infer", {"inputs": [{"name": MARK}]}),
    "an odd path": ("/predict/%61nn", [MARK]),
    "a model that crashed": ("/predict/eve", [MARK]),
}


def test_a_file_of_policies_is_followed(fleet: Guarded) -> None:
    restrict(fleet.folder.parent, methods=["predict_proba"])
    until_reason(fleet, "ann", "PolicyDenied")
    assert answer(fleet, "server-0", "ann") == 200, "what it was permitted before goes on"
    restrict(fleet.folder.parent, methods=["predict"])
    until_reason(fleet, "ann", "Ready")


def test_a_revoked_key_ends_on_every_server(fleet: Guarded) -> None:
    """Made and revoked by an admin, read by servers under their own roles."""
    fleet.start()
    fleet.until_settled()
    assert [answer(fleet, name, "ann", fleet.brief) for name in fleet.members] == [200, 200]
    assert [answer(fleet, name, "ann", "unknown") for name in fleet.members] == [401, 401]
    with RegistryReader.of_existing(fleet.admin_url) as registry:
        assert registry.keys().revoke([fleet.brief.split("_")[1]])
    for name in fleet.members:
        until(partial(_is_refused, fleet, name), "the key ended")
    assert asked(fleet, "ann") == [200, 200]


def _is_refused(fleet: Guarded, name: str) -> bool:
    return answer(fleet, name, "ann", fleet.brief) == 401


class Stranger(BaseHTTPRequestHandler):
    """Answers everything with a guess, and remembers what it was asked."""

    asked: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"[13]")

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _doubts(fleet: Guarded, name: str) -> bool:
    return "a server is not believed" in fleet.log(name)


def test_an_invented_server_gets_no_shard_and_no_request(fleet: Guarded) -> None:
    """Its row is written with the SQL role that servers share."""
    fleet.start()
    fleet.until_settled()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    engine = open_patient(fleet.members["server-0"].env["TENANTRY_REGISTRY_URL"])
    endpoint = f"http://127.0.0.1:{listener.server_port}"
    row = ServerRegistry(engine, "invented", endpoint=endpoint, capacity_bytes=1 << 40)
    try:
        row.renew(lease_s=600.0, acked_revision=1 << 40, report=ServerReport())
        until(lambda: len(Stranger.asked) >= 9, "operator and servers have asked it again and again")
        assert "invented" not in fleet.held()
        for _ in range(20):
            assert asked(fleet, "ann") == [200, 200]
        assert not [line for line in Stranger.asked if not line.startswith("GET /challenge/")]
        for name in fleet.children:
            until(partial(_doubts, fleet, name), f"{name} says that it does not believe it")
        assert "invented" not in fleet.held()
    finally:
        row.release()
        engine.dispose()
        listener.shutdown()
        listener.server_close()


def test_no_log_holds_a_payload_or_a_credential(fleet: Guarded) -> None:
    """At the level debug, after requests that succeed and that fail in every way."""
    fleet.start()
    fleet.until_settled()
    encoder = ColumnTransformer([("c", OrdinalEncoder(), ["c"])])
    frame = pd.DataFrame({"c": ["x", "y"]})
    declare(fleet.folder.parent, "fay", make_pipeline(encoder, LinearRegression()).fit(frame, [1.0, 2.0]))
    declare(fleet.folder.parent, "quo", Quotes())
    until_reason(fleet, "fay", "Ready")
    until_reason(fleet, "quo", "Ready")
    seen = set()
    for url in fleet.urls.values():
        for path, document in REQUESTS.values():
            body = document if isinstance(document, str) else json.dumps(document)
            for key in (fleet.key, MARK):
                headers = {"Authorization": f"Bearer {key}", "Cookie": f"s={MARK}", "X-Api-Key": MARK}
                request = urllib.request.Request(f"{url}{path}?key={MARK}", body.encode(), headers)
                seen.add(ask(request).status)
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as raw:
            raw.sendall(f"GET / HTTP/1.1\r\nAuthorization : {MARK}\r\n\r\n".encode())
            assert b"400" in raw.recv(65536)
    assert seen >= {200, 400, 401, 404, 422, 500}
    for name in fleet.children:
        log = fleet.log(name)
        assert len(log) > 1000
        for secret in (MARK, fleet.key, *fleet.passwords):
            lines = [line for line in log.splitlines() if secret in line]
            assert not lines, lines[:3]
