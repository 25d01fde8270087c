"""HTTP for the kubelet and Prometheus, in threads of its own: a busy operator still answers."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import structlog

from tenantry.processes import addresses
from tenantry_operator.control.controller import Controller
from tenantry_operator.metrics import CONTENT_TYPE, OperatorMetrics

log = structlog.get_logger(__name__)

_STUCK_S = 120.0  # no commit and no reading takes that long; their timeouts are seconds


class Health:
    """What is true of this process, for its probes.

    Attributes:
        standing_by: while it waits for the Lease, as a standby should: returns why it can't.
        controller: once it leads.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self.standing_by: Callable[[], str | None] | None = None
        self.controller: Controller | None = None

    def stuck(self) -> str | None:
        """Return why this process should be restarted; None: it should not."""
        if self.controller is None:
            return None
        for_s = self._clock_s() - self.controller.turned_at_s
        return f"the reconciler has not finished a pass for {for_s:.0f} s" if for_s > _STUCK_S else None

    def unready(self) -> str | None:
        """Return why a rollout should wait for this process; None: it should not.

        A lost registry does not count: no other replica would do better.
        """
        if self.standing_by is not None:
            return self.standing_by()
        if self.controller is not None and self.controller.listed:
            return None
        return "the TenantModels have not been listed yet"


class Probes:
    """Serves /healthz, /readyz and /metrics between `with` and its end.

    Args:
        port: 0: one that the system chooses.

    Attributes:
        url: where.

    Raises:
        OSError: the address can't be listened on.
    """

    def __init__(self, host: str, port: int, health: Health, metrics: OperatorMetrics) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds; else a client that connects and sends nothing keeps a thread

            def do_GET(self) -> None:
                status, kind, body = _answer(self.path, health, metrics)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                log.debug("probe", path=self.path)

        self._server = ThreadingHTTPServer((host, port), Handler, bind_and_activate=False)
        self._server.socket.close()  # of IPv4, whatever the host
        try:
            self._server.socket = addresses.bound(host, port)
        except OSError as error:
            where = addresses.shown(host, port)
            raise OSError(error.errno, f"{error.strerror}, for the probes", where) from error
        self._server.server_activate()
        self.url = addresses.url(host, self._server.socket.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()
        log.info("probes", url=self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, health: Health, metrics: OperatorMetrics) -> tuple[int, str, bytes]:
    match path.partition("?")[0]:
        case "/healthz":
            problem = health.stuck()
        case "/readyz":
            problem = health.unready()
        case "/metrics":
            return 200, CONTENT_TYPE, metrics.text()
        case _:
            return 404, "text/plain", b"there are /healthz, /readyz and /metrics\n"
    return (503, "text/plain", f"{problem}\n".encode()) if problem else (200, "text/plain", b"ok\n")
