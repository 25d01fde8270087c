"""Spans of what is traced, and the seam by which other modules add to them.

A span is data and knows no OpenTelemetry. Where nothing is traced, a part costs a look into a context
variable, and is nothing.
"""

import enum
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from random import Random
from types import TracebackType
from typing import TypeAlias

from tenantry import TenantryError
from tenantry.model_id import public_name
from tenantry.tracing import traceparent

Value: TypeAlias = "str | int | float | bool"

CHANCE = Random()  # noqa: S311 - names and shares, no secrets; a model that seeds Python's own changes none
"""Of ids and samples."""
os.register_at_fork(after_in_child=CHANCE.seed)


class Kind(enum.Enum):
    """Of a span, as OpenTelemetry names them."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    INTERNAL = "INTERNAL"


class Span:
    """One step of a sampled trace.

    Args:
        name: of the step.
        trace_id: 128 bits.
        parent_id: the span that it is a part of; 0: none.
        state: ``tracestate``, as it is passed on.
        ended: called with the span once it has ended, and with its parts.
        kind: how it stands to its parent.
        remote: whether its parent is a caller's.

    Attributes:
        span_id: 64 bits.
        attributes: by their names in OpenTelemetry's semantic conventions, or ``tenantry.…``.
        ended: as given.
        began_ns, ended_ns: of the system's clock, since 1970.
        failed: whether it counts as an error.
    """

    __slots__ = (
        "attributes",
        "began_ns",
        "ended",
        "ended_ns",
        "failed",
        "kind",
        "name",
        "parent_id",
        "remote",
        "span_id",
        "state",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        trace_id: int,
        parent_id: int,
        state: str,
        ended: Callable[["Span"], None],
        *,
        kind: Kind = Kind.INTERNAL,
        remote: bool = False,
    ) -> None:
        self.name = name
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.state = state
        self.kind = kind
        self.remote = remote
        self.span_id = CHANCE.getrandbits(64) or 1
        self.attributes: dict[str, Value] = {}
        self.failed = False
        self.began_ns = time.time_ns()
        self.ended_ns = 0
        self.ended = ended

    @property
    def lines(self) -> bytes:
        """The lines of a head that make a request a part of this span."""
        return traceparent.lines_of(self.trace_id, self.span_id, self.state)

    def part(self, name: str, kind: Kind = Kind.INTERNAL) -> "Span":
        """Begin a step of this one."""
        return Span(name, self.trace_id, self.span_id, self.state, self.ended, kind=kind)

    def about(self, *, user_id: str | None = None, model_id: str | None = None) -> None:
        """Say whom it is for and which model answers, as clients see its name: no bucket, no key."""
        if user_id is not None:
            self.attributes["tenantry.user_id"] = user_id
        if model_id is not None:
            self.attributes["tenantry.model_id"] = public_name(model_id)

    def fail(self, kind: str) -> None:
        """Count it as an error of this kind."""
        self.failed = True
        self.attributes["error.type"] = kind

    def end(self) -> None:
        """End it now."""
        self.ended_ns = time.time_ns()
        self.ended(self)


class Active(AbstractContextManager[Span]):
    """A span that ends with its block; an exception makes it an error.

    Args:
        has_parts: whether what begins in the block is a part of it; False: nothing there is traced.

    Attributes:
        ends: whether the span ends with the block; False: another block goes on with it.
    """

    __slots__ = ("_inner", "_span", "_token", "ends")

    def __init__(self, span: Span, *, has_parts: bool = True) -> None:
        self._span = span
        self._inner = span if has_parts else None
        self.ends = True

    def __enter__(self) -> Span:
        self._token = _CURRENT.set(self._inner)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _place: TracebackType | None
    ) -> None:
        _CURRENT.reset(self._token)
        if kind is not None:  # without its words, which may quote a row
            self._span.fail(error.reason if isinstance(error, TenantryError) else kind.__name__)
        if self.ends:
            self._span.end()


_CURRENT: ContextVar[Span | None] = ContextVar("span", default=None)
_NOTHING = nullcontext()

current = _CURRENT.get
"""Returns the span that runs in this task; None: nothing is traced."""


def part(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    user_id: str | None = None,
    model_id: str | None = None,
) -> AbstractContextManager[Span | None]:
    """Make a block a step of what is traced in this task; nothing where nothing is.

    Example:
        >>> ended = []
        >>> with Active(Span("POST", 7, 0, "", ended.append)), part("load") as step:
        ...     step.attributes["tenantry.cold"] = True
        >>> [(span.name, span.trace_id) for span in ended]
        [('load', 7), ('POST', 7)]
        >>> with part("load") as step:
        ...     print(step)
        None
    """
    span = _CURRENT.get()
    if span is None:
        return _NOTHING
    step = span.part(name, kind)
    step.about(user_id=user_id, model_id=model_id)
    return Active(step)
