"""The page of the fleet: which request is answered with what. Knows no socket."""

import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import sha256
from importlib import resources

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.trust import tls
from tenantry_operator.settings import OperatorSettings, Ui
from tenantry_operator.ui.asking import Asker
from tenantry_operator.ui.door import Door, Visitor
from tenantry_operator.ui.messages import PREFIX, Refusal, Request, Response, address, of_html
from tenantry_operator.ui.pages import servers, tenant, tenants
from tenantry_operator.ui.sight import Sight
from tenantry_operator.ui.stream import Streams
from tenantry_operator.ui.templating import Html, render
from tenantry_operator.ui.tokens import TokenJudge

log = structlog.get_logger(__name__)

_AT_ONCE = 8  # pages that are made at the same time
_TURN_S = 5.0
_ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Site:
    """Answers requests for the page.

    Args:
        sight: what it reads.
        doors: who may see it.
        streams: of changes.
    """

    def __init__(self, sight: Sight, doors: Door, streams: Streams | None = None) -> None:
        self._sight = sight
        self._door = doors
        self._streams = streams or Streams(sight.version)
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def answer(self, request: Request, *, stays: Callable[[], bool] = lambda: True) -> Response:
        """Return the answer to a request.

        Args:
            stays: whether the client is still there.
        """
        try:
            visitor = self._door.enter(request)
            if request.segments[:1] == ("assets",):
                return _asset(request)
            if request.segments == ("events",):
                return self._events(request, visitor, stays)
            return self._in_turn(request, visitor)
        except Refusal as refused:
            shown = render("page.problem", title=refused.title, message=str(refused))
            return of_html(_framed(refused.title, shown, "", ""), refused.status, refused.headers)
        except RegistryUnavailable as error:
            shown = render("page.problem", title="The registry does not answer", message=str(error))
            page = _framed("The registry does not answer", shown, address(*request.segments), "unavailable")
            return of_html(page, 503, {"Retry-After": "2"})

    def close(self) -> None:
        """End the streams, and close what the page reads from."""
        self._streams.close()
        self._sight.close()

    def _in_turn(self, request: Request, visitor: Visitor) -> Response:
        if not self._turns.acquire(timeout=_TURN_S):
            raise Refusal(503, "Busy", "Too many pages are made at once; try again.", {"Retry-After": "1"})
        try:
            return self._page(request, visitor)
        finally:
            self._turns.release()

    def _page(self, request: Request, visitor: Visitor) -> Response:
        version = self._sight.version()
        match (request.method, request.segments):
            case ("GET", ()):
                shown, title = tenants.listing(self._sight, request), "Tenants"
            case ("GET", ("servers",)):
                shown, title = servers.listing(self._sight), "Servers"
            case ("GET", ("servers", server_id)):
                shown, title = servers.page(self._sight, server_id, visitor.key), server_id
            case ("GET", ("tenants", uid)):
                claim = tenant.find(self._sight, uid)
                shown = tenant.page(self._sight, claim, visitor.key, self._door.token(visitor))
                title = claim.user_id or claim.name
            case ("POST", ("tenants", uid, "predict")):
                return self._tried(request, visitor, uid, version)
            case ("GET" | "POST", _):
                raise Refusal(404, "Not found", "There is no page at this address.")
            case _:
                raise Refusal(
                    405, "Not possible", "Pages are read, and forms are sent.", {"Allow": "GET, POST"}
                )
        here = request.target if request.target.startswith(PREFIX) else PREFIX
        return of_html(_framed(title, shown, here, version))

    def _tried(self, request: Request, visitor: Visitor, uid: str, version: str) -> Response:
        claim = tenant.find(self._sight, uid)
        believed = self._door.believes(request, visitor)
        if not believed:
            log.warning("a form was not believed", path=request.target, origin=request.header("origin"))
        shown = tenant.answered(
            self._sight, claim, visitor.key, self._door.token(visitor), request.form, believed=believed
        )
        page = _framed(claim.user_id or claim.name, shown, address("tenants", uid), version)
        return of_html(page, 200 if believed else 403)

    def _events(self, request: Request, visitor: Visitor, stays: Callable[[], bool]) -> Response:
        def may_stay() -> bool:
            if not stays():
                return False
            try:
                return self._door.enter(request) == visitor  # a revoked key ends it
            except (Refusal, RegistryUnavailable):
                return False

        seen = request.header("last-event-id") or request.query.get("seen", "")
        events: Iterator[bytes] | None = self._streams.open(seen, may_stay)
        if events is None:
            raise Refusal(503, "Busy", "Too many pages are followed at once.", {"Retry-After": "30"})
        return Response(events, kind="text/event-stream; charset=utf-8")


def of_settings(settings: OperatorSettings, mode: Ui) -> Site:
    """Make the page for a process with these settings.

    Raises:
        InvalidSetting: files of secrets or certificates can't be used.
        RegistryMismatch: the registry's URL is not usable.
    """
    sight = Sight(settings.registry_url, Asker(settings.fleet_secrets(), tls.of_settings(settings)))
    judge = TokenJudge(sight.registry.servers, sight.asker)
    return Site(sight, Door(mode, sight.registry.keys(), judge))


def _framed(title: str, content: Html, here: str, version: str) -> Html:
    place = here.removeprefix(PREFIX).partition("?")[0].strip("/").partition("/")[0]
    at = "servers" if place == "servers" else "tenants" if place in ("", "tenants") and here else ""
    return render(
        "page.page",
        title=title,
        content=content,
        here=here,
        version=version,
        at_tenants="page" if at == "tenants" else "false",
        at_servers="page" if at == "servers" else "false",
        **{f"{name.partition('.')[0]}_{name.partition('.')[2]}": _mark(name) for name in _ASSETS},
    )


def _asset(request: Request) -> Response:
    name = request.segments[-1]
    if request.method != "GET" or len(request.segments) != 2 or name not in _ASSETS:
        raise Refusal(404, "Not found", "There is no page at this address.")
    # Its address holds a digest of it, so a browser never shows an old one.
    return Response(_bytes(name), kind=_ASSETS[name], headers={"Cache-Control": "private, max-age=86400"})


@lru_cache
def _bytes(name: str) -> bytes:
    return resources.files(__package__).joinpath("assets", name).read_bytes()


@lru_cache
def _mark(name: str) -> str:
    return f"{address('assets', name)}?v={sha256(_bytes(name)).hexdigest()[:12]}"
