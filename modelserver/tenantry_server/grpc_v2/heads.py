"""What the headers of a call say: its method, its deadline, and what of its metadata V2 over HTTP knows."""

import re
from typing import NamedTuple

from tenantry_server.grpc_v2.messages import SERVICE
from tenantry_server.wire import headers

_PASSED_ON = frozenset(
    name.lower().encode()
    for name in (
        "Authorization",
        headers.TIMEOUT_MS,
        headers.FRESH,
        "traceparent",
        "tracestate",
        "X-Request-Id",
    )
)
_TIMEOUT_NAME = headers.TIMEOUT_MS.lower().encode()
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_MS = 999_999_999  # eleven days; the server has limits of its own
_PRINTABLE = re.compile(rb"[ -~]*")
_KIND = b"application/grpc"
_BEFORE = f"/{SERVICE}/".encode()


class CallHead(NamedTuple):
    """What begins a call.

    Attributes:
        is_grpc: whether it is a call of gRPC at all.
        method: of the service; empty: of another one.
        lines: headers of the request that is made of it, a line break after each.
        encoding: how its messages are compressed.
    """

    is_grpc: bool
    method: str
    lines: str
    encoding: str


def head_of(pairs: list[tuple[bytes, bytes]]) -> CallHead:
    r"""Read the headers of a call.

    Example:
        >>> path = f"/{SERVICE}/ModelInfer".encode()
        >>> kind = (b"content-type", b"application/grpc+proto")
        >>> head = head_of([(b":method", b"POST"), (b":path", path), kind, (b"grpc-timeout", b"2S")])
        >>> head.method, head.lines
        ('ModelInfer', 'Tenantry-Timeout-Ms: 2000\r\n')
    """
    found = dict(pairs)
    path = found.get(b":path", b"")
    lines = [
        f"{name.decode()}: {value.decode()}\r\n"
        for name, value in pairs
        if name in _PASSED_ON and _PRINTABLE.fullmatch(value)
    ]
    timeout = _TIMEOUT.fullmatch(found.get(b"grpc-timeout", b""))
    if timeout is not None and _TIMEOUT_NAME not in found:
        left_ms = min(_LONGEST_MS, int(float(timeout[1]) * _SECONDS[timeout[2]] * 1e3))
        lines.append(f"{headers.TIMEOUT_MS}: {left_ms}\r\n")
    return CallHead(
        found.get(b":method") == b"POST" and found.get(b"content-type", b"").startswith(_KIND),
        path.removeprefix(_BEFORE).decode("ascii", "replace") if path.startswith(_BEFORE) else "",
        "".join(lines),
        found.get(b"grpc-encoding", b"identity").decode("ascii", "replace"),
    )
