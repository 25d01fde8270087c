"""The headers of W3C Trace Context (https://www.w3.org/TR/trace-context/): whose trace a request continues.

What callers send is a stranger's: whatever is not exactly as the standard says counts as not sent.
"""

import re
from typing import NamedTuple

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?")
_KEY = "[a-z0-9][a-z0-9_*/@-]{0,255}"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(f"{_KEY}={_VALUE}")
_MOST_CHARACTERS = 512  # of either; longer ones may be dropped, by section 3.3.1.5
_MEMBERS = 32


class Parent(NamedTuple):
    """The span of a caller.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: whether the caller keeps its spans of this trace.
    """

    trace_id: int
    span_id: int
    sampled: bool


def parent_of(header: str) -> Parent | None:
    """Return what ``traceparent`` says; None: it is not one.

    Example:
        >>> parent_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").sampled
        True
        >>> parent_of("00-00000000000000000000000000000000-b7ad6b7169203331-01") is None
        True
    """
    if len(header) > _MOST_CHARACTERS:
        return None
    found = _PARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1))
    return parent if parent.trace_id and parent.span_id else None


def state_of(header: str | None) -> str:
    """Return ``tracestate`` as it is passed on; empty: there is none, or it breaks a rule.

    Example:
        >>> state_of("vendor=1, other=a b")
        'vendor=1,other=a b'
        >>> state_of("vendor=1,vendor=2")
        ''
    """
    if not header or len(header) > _MOST_CHARACTERS:
        return ""
    members = [each for each in (part.strip(" \t") for part in header.split(",")) if each]
    keys = {each.partition("=")[0] for each in members}
    if len(members) > _MEMBERS or len(keys) < len(members):
        return ""
    return ",".join(members) if all(map(_MEMBER.fullmatch, members)) else ""


def lines_of(trace_id: int, span_id: int, state: str) -> bytes:
    """Return the lines of a head that make a request a part of this span, a line break after each."""
    lines = f"{TRACEPARENT}: 00-{trace_id:032x}-{span_id:016x}-01\r\n"
    return (f"{lines}{TRACESTATE}: {state}\r\n" if state else lines).encode()
