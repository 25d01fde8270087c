"""How long one request may still take.

Every server has a limit of its own. A request may name a smaller one in the header Tenantry-Timeout-Ms, as
a server that passes it on does. Time that was spent before a request is answered here is subtracted.
"""

import time
from collections.abc import MutableMapping
from typing import Any

from aiohttp import web

from tenantry_server.wire import headers

_ENDS_S = web.RequestKey("ends_s", float)
_DIGITS = 9  # eleven days: more is a mistake, and int() of a megabyte of digits takes its time


def limit_s(request: web.BaseRequest, own_s: float) -> float:
    """Return the smaller of `own_s` and the limit that the request names, if that is a number."""
    named = request.headers.get(headers.TIMEOUT_MS)
    if named is None or len(named) > _DIGITS or not (named.isascii() and named.isdecimal()):
        return own_s
    return min(own_s, int(named) / 1e3)


def begin(request: MutableMapping[Any, Any], ends_s: float) -> None:
    """Give the request time until `ends_s` of `time.monotonic`; or what is known of it before it is one."""
    request[_ENDS_S] = ends_s


def left_s(request: web.Request, own_s: float) -> float:
    """Return the seconds that are left, 0 where none are; the whole limit before `begin` is called."""
    limit = limit_s(request, own_s)
    ends_s = request.get(_ENDS_S)
    return limit if ends_s is None else max(0.0, min(limit, ends_s - time.monotonic()))
