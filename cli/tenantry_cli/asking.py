"""Requests of the command to a model server, and its errors in words."""

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from tenantry.registry import RegistryReader
from tenantry.settings import CommonSettings
from tenantry.trust import tls
from tenantry_cli import console
from tenantry_cli.views import overview


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        headers: its headers.
        body: as it came.
    """

    headers: Mapping[str, str]
    body: bytes


class Refused(click.ClickException):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {_message(body)}")
        self.status = status


def ask(base: str, path: str, user_id: str, body: bytes | None, timeout_s: float) -> Answer:
    """Send a GET, or a POST with a JSON body.

    Args:
        base: of the server; `path` is what goes before the user.

    Raises:
        Refused: it answered with an error.
        click.ClickException: there was no answer.
    """
    address = f"{base.rstrip('/')}{path}{urllib.parse.quote(user_id)}"
    if not address.startswith(("http://", "https://")):
        raise click.UsageError(f"--url must begin with http:// or https://, got {base!r}")
    headers = credentials()
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(address, data=body, headers=headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(  # noqa: S310 - as above
            request, timeout=timeout_s, context=trusted(base)
        ) as answer:
            return Answer(answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        raise Refused(error.code, error.read()) from None
    except OSError as error:
        reason = getattr(error, "reason", error)  # urllib wraps what the socket said
        raise click.ClickException(f"no answer from {base}: {reason}") from None


def credentials() -> dict[str, str]:
    """Return the header that shows who asks: the key or token of TENANTRY_API_KEY, where that is set."""
    key = os.environ.get("TENANTRY_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def trusted(base: str) -> ssl.SSLContext | None:
    """Return whom to trust of servers with such an address, by TENANTRY_TLS_CA; None: it is plain HTTP.

    Raises:
        InvalidSetting: that file can't be used.
    """
    return tls.trusting().client() if base.startswith("https://") else None


def any_server(registry: RegistryReader) -> str | None:
    """Return the address of a server whose lease holds; None: there is none."""
    servers = overview.live_servers(registry)
    return servers[0].endpoint if servers else None


def card_of(base: str, user_id: str, timeout_s: float) -> dict[str, Any] | None:
    """Return the card of a user's model; None: it has none.

    Raises:
        click.ClickException: the server can't say.
    """
    try:
        card: dict[str, Any] = json.loads(ask(base, "/cards/", user_id, None, timeout_s).body)
    except Refused as error:
        if error.status == 404:
            return None
        raise
    return card


def example_body(card: Mapping[str, Any], most: int | None = None) -> bytes:
    """Return the example rows of a card as the body of a request, the first few where `most` says so."""
    rows = card["rows"][:most]
    document = rows if card["form"] in ("frame", "records") else {"instances": rows}
    return json.dumps(document, ensure_ascii=False).encode()


def server_of(url: str | None, settings: CommonSettings) -> str:
    """Return the address of the server to ask: as given, or any live one in the registry.

    Raises:
        click.ClickException: there is none.
    """
    if url is not None:
        return url
    with RegistryReader.of_existing(settings.registry_url) as registry:
        base = any_server(registry)
    if base is None:
        raise click.ClickException("no model server is running; start one, or give --url")
    return base


def show(answer: Answer) -> None:
    """Print what a model answered, and beside it which model of which server did."""
    console.out.print(answer.body.decode(), markup=False)
    model_id = answer.headers["Tenantry-Model-Id"]
    console.say(f"answered by {answer.headers['Tenantry-Server']} with {model_id}")


def _message(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return f"{error['reason']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]
