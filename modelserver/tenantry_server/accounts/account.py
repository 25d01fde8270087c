"""What was counted of one tenant during one period."""

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
"""Upper bounds of the latency counts, in seconds; one more count is for everything above."""


class Account:
    """The counters of one tenant; used on the event loop, about 300 bytes.

    Attributes:
        requests: predictions and forecasts that this server answered, errors included.
        client_errors: of these, with a status from 400 to 499 but 429: rows that the model does not take.
        limited: of these, with 429: beyond the user's limits. No error of the model, so not among `errors`.
        server_errors: of these, with a status from 500 on but 504: the model raised, or can't be loaded.
        timeouts: of these, with 504: the model took too long.
        cpu_s: CPU seconds of the model: kernels in the serving process, calls in a worker.
        busy_s: CPU seconds of this second or so, with what the server does for each request.
        latencies: how many requests took how long, by `BOUNDS_S`; of quick ones a sample, weighted.
    """

    __slots__ = (
        *("busy_s", "client_errors", "cpu_s", "latencies", "limited"),
        *("requests", "server_errors", "timeouts"),
    )

    def __init__(self) -> None:
        self.requests = 0
        self.client_errors = 0
        self.limited = 0
        self.server_errors = 0
        self.timeouts = 0
        self.cpu_s = 0.0
        self.busy_s = 0.0
        self.latencies: list[int] | None = None  # most tenants of a large fleet are asked for seldom

    @property
    def errors(self) -> int:
        """Requests that failed, by the client's fault, the model's or the server's."""
        return self.client_errors + self.server_errors + self.timeouts

    def failed(self, status: int) -> None:
        """Count an answer with this status, 400 or more, by its kind."""
        if status == 504:
            self.timeouts += 1
        elif status >= 500:
            self.server_errors += 1
        elif status == 429:
            self.limited += 1
        else:
            self.client_errors += 1

    def took(self, seconds: float, weight: int = 1) -> None:
        """Count the latency of a request that stands for `weight` requests."""
        if self.latencies is None:
            self.latencies = [0] * (len(BOUNDS_S) + 1)
        self.latencies[bisect_left(BOUNDS_S, seconds)] += weight

    def add(self, other: "Account") -> None:
        """Add what another account has counted."""
        self.requests += other.requests
        self.client_errors += other.client_errors
        self.limited += other.limited
        self.server_errors += other.server_errors
        self.timeouts += other.timeouts
        self.cpu_s += other.cpu_s
        if other.latencies is not None:
            mine = self.latencies or [0] * len(other.latencies)
            self.latencies = [one + more for one, more in zip(mine, other.latencies, strict=True)]


def quantile_s(counts: Sequence[int] | None, share: float) -> float | None:
    """Return an estimate of a quantile in seconds, as Prometheus' `histogram_quantile` makes it.

    It is exact to the width of one bucket, within which latencies are taken to be spread evenly. Above the
    last bound, that bound is returned.

    Args:
        counts: by `BOUNDS_S`.
        share: 0 to 1, such as 0.99.

    Returns:
        seconds; None where nothing was counted.

    Example:
        >>> quantile_s([0, 0, 0, 100, *[0] * 12], 0.5)
        0.00075
    """
    total = sum(counts or ())
    if not counts or not total:
        return None
    wanted, below = share * total, 0
    for place, count in enumerate(counts[:-1]):
        if count and below + count >= wanted:
            least = BOUNDS_S[place - 1] if place else 0.0
            return least + (BOUNDS_S[place] - least) * max(0.0, wanted - below) / count
        below += count
    return BOUNDS_S[-1]
