"""An application behind a `SecureSite`, in a thread and a loop as a server's process has them."""

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tenantry import Model
from tenantry.processes import addresses
from tenantry.processes.runtime import run_async
from tenantry.trust.certificates import Files
from tenantry.trust.tls import Mode, Tls
from tenantry_server import CachedModelRepository, bounded_cache, make_app
from tenantry_server.access.gate import Gate
from tenantry_server.app import FAST_PATH
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.toys import SumModel
from tenantry_server.wire.later import Later
from tenantry_server.wire.secure_site import SecureSite

PATIENCE_S = 60.0
ROW = b'[{"a": 1, "b": 2}]'


class Quick(SumModel):
    """Only computes, so that it is answered on the fast path."""

    may_block = False

    def predict_rows(self, rows: Any) -> Any:
        return rows.sum(axis=1) + self.plus


class _Users(ModelInfoRepository):
    def get_model_id_by_user_id(self, user_id: str) -> str:
        return user_id

    def peek(self, user_id: str) -> str | None:
        return user_id


class _Models(ModelRepository):
    def get_model(self, model_id: str) -> Model:
        return Quick(len(model_id))


class SecureServer:
    """Answers between `with` and its end: the sum of a row and the length of the user's name.

    Args:
        folder: has tls.crt, tls.key and ca.crt.
        ca: whether the last one is used.
        gate: who is admitted; made of the way TLS is talked, as in a process.
        routes: of the application beside its own.
        head_s: as `SecureSite`.

    Attributes:
        quick: the users that were answered on the fast path.
        port: where, on 127.0.0.1.
    """

    def __init__(
        self,
        folder: Path,
        mode: Mode = Mode.REQUIRED,
        *,
        ca: bool = True,
        gate: Callable[[bool], Gate] = lambda wanted: Gate(wants_certificates=wanted),
        routes: Callable[[], list[web.RouteDef]] = list,
        head_s: float = PATIENCE_S,
    ) -> None:
        files = Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt" if ca else None)
        self.tls = Tls(files, mode)
        self._gate = gate(self.tls.wants_certificates)
        self._routes = routes
        self._head_s = head_s
        self._listening = addresses.bound("127.0.0.1", 0)
        self.port = int(self._listening.getsockname()[1])
        self.quick: list[str] = []
        self._clients: list[http.client.HTTPConnection] = []
        self._started = threading.Event()
        self._stop: Callable[[], Any] = lambda: None
        self._thread = threading.Thread(target=lambda: run_async(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        return self

    def cpu_s(self) -> float:
        """CPU seconds that its thread has used."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def kept(self, context: ssl.SSLContext) -> http.client.HTTPConnection:
        """A connection with TLS that stays open over requests."""
        made = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE_S, context=context)
        self._clients.append(made)
        return made

    def plain(self) -> http.client.HTTPConnection:
        """The same without TLS."""
        made = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        self._clients.append(made)
        return made

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        models = CachedModelRepository(_Models(), bounded_cache(1 << 20))
        app = make_app(_Users(), models, server_id="server-7", gate=self._gate)
        app.add_routes(self._routes())
        fast = app[FAST_PATH]
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
        await runner.setup()
        assert runner.server is not None
        fast.install(runner.server)
        whole = fast.answer

        def noted(target: Any, block: Any, body: bytes) -> bytes | Later | None:
            answer = whole(target, block, body)
            if answer is not None:
                self.quick.append(target.user_id)
            return answer

        fast.answer = noted  # type: ignore[method-assign]
        await SecureSite(runner, self._listening, self.tls, head_s=self._head_s).start()
        self._started.set()
        await stop.wait()
        await runner.cleanup()


def raw(port: int) -> socket.socket:
    """A connection without TLS."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def secure(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection with TLS."""
    plain = raw(port)
    try:
        return context.wrap_socket(plain, server_hostname="127.0.0.1")
    except OSError:
        plain.close()
        raise


def asked(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, Any]:
    """Status and document of an answer."""
    connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
    with connection.getresponse() as response:
        return response.status, json.loads(response.read())
