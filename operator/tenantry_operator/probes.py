"""HTTP for the kubelet, Prometheus and people, in threads of its own: a busy operator still answers."""

import time
from collections.abc import Callable

from tenantry_operator.control.controller import Controller
from tenantry_operator.listening import Listener
from tenantry_operator.metrics import CONTENT_TYPE, OperatorMetrics
from tenantry_operator.ui.serving import Handler
from tenantry_operator.ui.site import Site

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


class Probes(Listener):
    """Serves /healthz, /readyz, /metrics and the page at /ui between `with` and its end.

    Args:
        port: 0: one that the system chooses.
        page: at /ui; None: there is none.

    Attributes:
        url: where.

    Raises:
        OSError: the address can't be listened on.
    """

    def __init__(
        self, host: str, port: int, health: Health, metrics: OperatorMetrics, page: Site | None = None
    ) -> None:
        class Answering(Handler):
            site = page

            def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
                if not self.serves_page():
                    self.reply(*_answer(self.path, health, metrics))

        super().__init__(host, port, Answering, "probes")


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
