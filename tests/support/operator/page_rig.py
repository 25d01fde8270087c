"""The page of the fleet in this process: a registry, and a server that says what a test wants."""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tenantry.manifest.status import State, Status
from tenantry.placement import SHARDS
from tenantry.registry import (
    Assignment,
    Claim,
    Holding,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    open_engine,
)
from tenantry.trust import proofs
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry.trust.tls import Tls
from tenantry_operator.settings import Ui
from tenantry_operator.ui.asking import Asker
from tenantry_operator.ui.door import Door
from tenantry_operator.ui.messages import Request, Response
from tenantry_operator.ui.sight import Sight
from tenantry_operator.ui.site import Site
from tenantry_operator.ui.tokens import TokenJudge
from tests.support.databases.migrated import migrate

SECRET = "of the fleet"  # noqa: S105 - of this test
CARD_DIGEST = "c" * 64
HOST = "127.0.0.1:8081"


class StubServer:
    """A model server that answers what it is told to.

    Attributes:
        answers: path -> status, headers and body; other paths are 404.
        asked: method, path, headers and body of each request, challenges left out.
        secret: by which it proves itself; empty: it proves nothing.
    """

    def __init__(self, server_id: str = "server-0") -> None:
        self.server_id = server_id
        self.answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.secret = ""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                stub.answer(self, self.rfile.read(length))

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        status, headers, said = self.answers.get(handler.path, (404, {}, b"{}"))
        if handler.path.startswith(proofs.PATH):
            asked = handler.path.removeprefix(proofs.PATH)
            status, headers, said = 200, {}, b"nothing"
            if self.secret:
                said = proofs.proof(self.secret, self.server_id, self.url, asked).encode()
        else:
            got = {name.lower(): value for name, value in handler.headers.items()}
            self.asked.append((handler.command, handler.path, got, body))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class PageRig:
    """A page over a registry of its own, SQLite unless `url` says otherwise.

    Attributes:
        operator: writes the registry.
        server: a live one, which owns every shard.
        site: the page.
    """

    def __init__(
        self, folder: Path, *, mode: Ui = Ui.OPEN, secret: str | None = None, url: str | None = None
    ) -> None:
        if url is None:
            (folder / "registry.db").write_bytes(_migrated())
        self.url = url or f"sqlite:///{folder}/registry.db"
        self.engine = open_engine(self.url)
        if url is not None:
            migrate(self.engine)
        self.operator = OperatorRegistry(self.engine, "operator")
        self.operator.lead("tests")
        self.server = StubServer()
        self.rows = ServerRegistry(
            self.engine, "server-0", endpoint=self.server.url, capacity_bytes=512 << 20
        )
        self.renew()
        self.operator.assign_shards({shard: Holding("server-0") for shard in range(SHARDS)})
        self.sight = Sight(self.url, Asker(FleetSecrets(secret) if secret else None, Tls()))
        judge = TokenJudge(self.sight.registry.servers, self.sight.asker)
        self.site = Site(self.sight, Door(mode, self.operator.keys(), judge))

    def renew(self, **report: Any) -> None:
        """Let the server say something of itself."""
        said = ServerReport(**{"used_bytes": 64 << 20, "load": 0.25, **report})
        self.rows.renew(lease_s=600.0, acked_revision=0, report=said)

    def add(
        self,
        user_id: str | None,
        status: Status | None = None,
        *,
        model_id: str | None = None,
        name: str | None = None,
        namespace: str = "default",
    ) -> str:
        """Declare a tenant; returns its uid."""
        known = name or user_id or "?"
        uid = f"uid-{namespace}-{known}"
        spec = {"userId": user_id, "model": {"uri": f"s3://models/{known}.skops"}}
        claim = Claim(
            uid, namespace, known, user_id, 1.0, 1, spec, status, {"Ready": "2026-11-29T10:00:00Z"}
        )
        rows = [Assignment(user_id, uid, 1, model_id)] if user_id and model_id else []
        self.operator.commit(Writes(claims=[claim], assignments=rows))
        return uid

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Response:
        """Ask for a page."""
        return self.site.answer(Request("GET", target, _headers(headers)))

    def post(
        self, target: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a form."""
        from urllib.parse import urlencode  # noqa: PLC0415

        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        given = _headers(kind | dict(headers or {}))
        return self.site.answer(Request("POST", target, given, urlencode(fields).encode()))

    def close(self) -> None:
        self.site.close()
        self.server.close()
        self.engine.dispose()


@cache
def _migrated() -> bytes:
    """An empty registry: to migrate takes half a second."""
    with TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/registry.db")
        migrate(engine)
        engine.dispose()
        return (Path(folder) / "registry.db").read_bytes()


def ready(model_id: str) -> Status:
    return Status(State.READY, "Ready", "every live server answers with it", 1, model_id, 430)


def stalled(reason: str, message: str, model_id: str | None = None) -> Status:
    return Status(State.STALLED, reason, message, 1, model_id, keeps=model_id is not None)


def model_id(user_id: str, *, card: bool = True) -> str:
    digest = f"&card={CARD_DIGEST}" if card else ""
    return f"s3://models/{user_id}.skops#sha256={'9f86d081' * 8}{digest}"


def card(**over: Any) -> bytes:
    """A card of two columns, as servers answer with it."""
    columns = [
        {"name": "km", "kind": "number", "dtype": "float64"},
        {"name": "carrier", "kind": "category", "dtype": "category", "categories": ["UA", "DL"]},
    ]
    document: dict[str, Any] = {
        "card": 1,
        "form": "frame",
        "columns": columns,
        "rows": [{"km": 1.5, "carrier": "UA"}, {"km": 2.5, "carrier": "DL"}],
    }
    return json.dumps(document | over).encode()


def page_of(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def basic(key: str) -> dict[str, str]:
    """What a browser sends for a key that was typed as a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"me:{key}".encode()).decode()}


@contextmanager
def opened(folder: Path, **given: Any) -> Iterator[PageRig]:
    rig = PageRig(folder, **given)
    try:
        yield rig
    finally:
        rig.close()


def _headers(given: Mapping[str, str] | None) -> dict[str, list[str]]:
    return {name.lower(): [value] for name, value in ({"Host": HOST} | dict(given or {})).items()}
