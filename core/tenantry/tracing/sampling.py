"""What is traced: OpenTelemetry's standard samplers, decided before a span is made."""

from collections.abc import Callable, Mapping
from math import log, log1p

from tenantry.errors import InvalidSetting
from tenantry.tracing.spans import CHANCE, Kind, Span
from tenantry.tracing.traceparent import parent_of, state_of

_ALL = 1 << 64
_NEVER = 1 << 60
_LOW = _ALL - 1
_BASED = "parentbased_"
_RATIO = "traceidratio"
_random = CHANCE.random
_KNOWN = ("always_on", "always_off", _RATIO)


class Sampler:
    """Begins the span of a request, where it is traced.

    A caller's trace goes on where the caller keeps it (parent-based samplers). Otherwise the lower half of
    the trace id decides, as in OpenTelemetry's TraceIdRatioBased: everybody who samples so agrees.

    Args:
        ratio: of traces that are kept, 0 to 1.
        follows: whether a caller's decision holds.
        ended: called with each span that ends.
        may_leave: whether spans can be sent now; where they can't, none is made.

    Example:
        >>> sampler = Sampler(0.0, follows=True, ended=print)
        >>> sampler.begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).parent_id == 0
        False
        >>> sampler.begin(None, None) is None
        True
    """

    def __init__(
        self,
        ratio: float,
        *,
        follows: bool,
        ended: Callable[[Span], None],
        may_leave: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ratio = ratio
        self._below = round(ratio * _ALL)
        self._follows = follows
        self._ended = ended
        self._may_leave = may_leave

    def gap(self) -> int:
        """Return which of the requests that no caller traces is kept next: 1: the first.

        Drawn once for many requests (geometrically distributed), it says the same as a coin for each.

        Example:
            >>> Sampler(1.0, follows=True, ended=print).gap()
            1
        """
        if self._ratio >= 1.0:
            return 1
        if self._ratio <= 0.0:
            return _NEVER
        return min(_NEVER, 1 + int(log(1.0 - _random()) / log1p(-self._ratio)))

    def root(self) -> Span | None:
        """Return the span of a kept request that no caller traces; None: it can't be sent now."""
        low = CHANCE.getrandbits(64) if self._ratio == 1.0 else int(_random() * self._below)
        return self._span(CHANCE.getrandbits(64) << 64 | low or 1, 0, "")

    def begin(self, parent: str | None, state: str | None, *, is_hop: bool = False) -> Span | None:
        """Return the span of a request that begins; None: it is not traced.

        Args:
            parent: ``traceparent``, as it arrived.
            state: ``tracestate``, as it arrived.
            is_hop: whether another server passes it on, which has decided that a trace begins, or none.
        """
        if parent is None:
            return None if _random() >= self._ratio or is_hop else self.root()
        caller = parent_of(parent)
        if caller is None:
            return self.begin(None, None, is_hop=is_hop)
        kept = caller.sampled if self._follows else caller.trace_id & _LOW < self._below
        return self._span(caller.trace_id, caller.span_id, state_of(state)) if kept else None

    def _span(self, trace_id: int, parent_id: int, state: str) -> Span | None:
        if not self._may_leave():
            return None
        remote = parent_id != 0
        return Span("", trace_id, parent_id, state, self._ended, kind=Kind.SERVER, remote=remote)


def of_environment(environ: Mapping[str, str]) -> tuple[float, bool]:
    """Return the ratio and whether a caller's decision holds, by OTEL_TRACES_SAMPLER and …_ARG.

    Raises:
        InvalidSetting: it names no standard sampler, or no ratio.

    Example:
        >>> of_environment({})
        (1.0, True)
        >>> of_environment({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"})
        (0.01, False)
    """
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or f"{_BASED}always_on"
    plain = name.removeprefix(_BASED)
    if plain not in _KNOWN:
        raise InvalidSetting(
            f"OTEL_TRACES_SAMPLER is {name!r}; it is one of {', '.join(_KNOWN)}, alone or after {_BASED}"
        )
    follows = name.startswith(_BASED)
    return (_ratio(environ), follows) if plain == _RATIO else (float(plain == "always_on"), follows)


def _ratio(environ: Mapping[str, str]) -> float:
    given = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    try:
        ratio = float(given)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InvalidSetting(f"OTEL_TRACES_SAMPLER_ARG is {given!r}; it is a ratio of traces from 0 to 1")
    return ratio
