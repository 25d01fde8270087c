"""A request for the page and its answer, without a socket; and what every answer carries."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tenantry_operator.ui.templating import Html

PREFIX = "/ui"
_MOST_FIELDS = 600
SECURITY = {
    # No script, style or form of any other place, and none that stands in the page itself.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer, which would take the Origin from the page's own form as well.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer of the page."""


@dataclass(frozen=True)
class Request:
    """What was asked.

    Attributes:
        target: path and query as they came.
        headers: by name in small letters, each with its values.
    """

    method: str
    target: str
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of a header; None: it is not there, or there more than once."""
        values = self.headers.get(name.lower(), ())
        return values[0] if len(values) == 1 else None

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path below `/ui`, decoded after they were cut apart."""
        path = self.target.partition("?")[0].partition("#")[0].removeprefix(PREFIX)
        return tuple(unquote(part) for part in path.split("/") if part)

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The last value of each name in the query."""
        try:
            return _fields(urlsplit(self.target).query)
        except ValueError:
            return {}

    @cached_property
    def form(self) -> Mapping[str, str]:
        """The last value of each field of the body; empty: it is another kind of body."""
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return {}
        try:
            return _fields(self.body.decode())
        except ValueError:
            return {}


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        body: the whole of it, or pieces that are sent as they come, until the client is gone.
    """

    body: bytes | Iterator[bytes]
    status: int = 200
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A request that is not answered with what it asked for.

    Attributes:
        status: of HTTP.
        title: what it is about, for a heading.
        headers: of the answer.
    """

    def __init__(
        self, status: int, title: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.title = title
        self.headers = headers or {}


def of_html(page: Html, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a page as an answer."""
    return Response(page.encode("utf-8", "replace"), status, headers=headers or {})


def address(*segments: str, **query: str | None) -> str:
    """Return a path of the page; every part is quoted, and what is None or empty is left out of the query.

    Example:
        >>> address("tenants", "a/b"), address(q="x&y", reason=None)
        ('/ui/tenants/a%2Fb', '/ui?q=x%26y')
    """
    path = "".join(f"/{quote(each, safe='', errors='replace')}" for each in segments)
    given = "&".join(
        f"{name}={quote(value, safe='', errors='replace')}" for name, value in query.items() if value
    )
    return PREFIX + path + (f"?{given}" if given else "")


def pretty(body: bytes, most: int) -> str:
    """Return an answer for people: JSON on several lines, else as it is, cut to `most` characters."""
    try:
        shown = json.dumps(json.loads(body), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        shown = body.decode("utf-8", "replace")
    return shown if len(shown) <= most else f"{shown[:most]}\n… and {len(shown) - most:,} characters more"


def _fields(encoded: str) -> dict[str, str]:
    found = parse_qs(encoded, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    return {name: values[-1] for name, values in found.items()}
