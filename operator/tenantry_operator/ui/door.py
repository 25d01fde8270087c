"""Who may see the page, and whose form is believed."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes
from urllib.parse import urlsplit

from tenantry.registry import KeyBook, Scope
from tenantry_operator.settings import OperatorSettings, Ui
from tenantry_operator.ui.messages import Refusal, Request

_LONGEST = 8 << 10  # of a credential
TOKEN = "token"  # noqa: S105 - the name of the form's field
_ASKS = {"WWW-Authenticate": 'Basic realm="Tenantry", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page.

    Attributes:
        key: the admin's key or token that was shown; None: the page is open.
    """

    key: str | None = None


def mode_of(settings: OperatorSettings) -> Ui:
    """Return whether the page is there, and for whom; `TENANTRY_AUTH=required` leaves none open."""
    mode = settings.ui or Ui.OFF
    return Ui.KEYS if mode is Ui.OPEN and settings.auth == "required" else mode


class Door:
    """Judges visitors.

    Args:
        mode: OPEN: everybody who reaches it; else visitors who show an admin's key for every user.
        keys: API keys.
        is_admins: returns whether a token is an admin's for every user.
    """

    def __init__(self, mode: Ui, keys: KeyBook, is_admins: Callable[[str], bool] = lambda _: False) -> None:
        self._open = mode is Ui.OPEN
        self._keys = keys
        self._is_admins = is_admins
        self._secret = token_bytes(32)  # of this process: a form of the process before is sent again

    def enter(self, request: Request) -> Visitor:
        """Return who asks.

        Raises:
            Refusal: the page is not for this visitor.
            RegistryUnavailable: keys can't be looked up.
        """
        if self._open:
            _require_own_name(request)
            return Visitor()
        key = _shown(request)
        if key is None:
            raise Refusal(401, "A key is needed", "This page asks for an admin's API key or token.", _ASKS)
        found = self._keys.find(key)
        if found is None:
            admitted = self._is_admins(key)
        else:
            admitted = found.scope is Scope.ADMIN and "*" in found.users
        if not admitted:
            raise Refusal(
                401,
                "Another key is needed",
                "The key is unknown, expired or revoked, or it is not an admin's for every user: "
                "tenantry keys create --for '*' --scope admin. A token has to be one that a model server "
                "takes for an admin's (TENANTRY_JWT_ADMINS), and a server has to be there to say so.",
                _ASKS,
            )
        return Visitor(key)

    def token(self, visitor: Visitor) -> str:
        """Return what proves that a form was read from this page, by this visitor."""
        return hmac.new(self._secret, (visitor.key or "").encode("utf-8", "replace"), "sha256").hexdigest()

    def believes(self, request: Request, visitor: Visitor) -> bool:
        """Return whether a form was sent from this page: no other site can have read its token."""
        site = request.header("sec-fetch-site")
        if site not in (None, "same-origin"):
            return False
        origin = request.header("origin")
        if origin is not None and _host_of(origin) != (request.header("host") or "").lower():
            return False
        given = request.form.get(TOKEN, "")
        return hmac.compare_digest(self.token(visitor).encode(), given.encode("utf-8", "replace"))


def _require_own_name(request: Request) -> None:
    """Refuse names that anybody may point to this address, and so read an open page from their own site."""
    given = request.header("host") or ""
    try:
        host = "" if "@" in given else urlsplit(f"//{given}").hostname or ""
        if host != "localhost":
            ipaddress.ip_address(host)
    except ValueError:
        raise Refusal(
            403,
            "Ask by address",
            "This page is open to everybody who reaches it, so it answers at an IP address or localhost "
            "alone. For another name, set TENANTRY_UI=keys.",
        ) from None


def _shown(request: Request) -> str | None:
    """Return the key of an Authorization header: Bearer, or the password of Basic."""
    given = request.header("authorization")
    if given is None or len(given) > _LONGEST:
        return None
    scheme, _, credential = given.partition(" ")
    credential = credential.strip()
    if scheme.lower() == "bearer":
        return credential or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(credential, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return password or user or None


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
