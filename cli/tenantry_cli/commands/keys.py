"""`tenantry keys`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from tenantry.registry import KeyBook, RegistryReader, Scope
from tenantry.settings import CommonSettings
from tenantry_cli import options

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST_S = 100 * 365 * 86_400


class _Duration(click.ParamType[float | None]):
    """Seconds from a number and a unit; None: never."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Read `90d`, `12h`, `30m`, `45s` or `never`."""
        if value == "never":
            return None
        found = re.fullmatch(r"([0-9]{1,10})([smhd])", str(value))
        seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < seconds <= _MOST_S:
            self.fail(f"{value!r} is not a time such as 90d, 12h, 30m or never", param, ctx)
        return float(seconds)


@click.group("keys")
def command() -> None:
    """Look after the API keys with which callers show who they are (TENANTRY_AUTH=required).

    A change is in force on every server within a poll, a tenth of a second. docs/security.md describes what
    a key allows.
    """


@command.command("create")
@click.option(
    "--for",
    "users",
    multiple=True,
    required=True,
    metavar="PATTERN",
    help="User ids that the key is for; * is any text. Repeat it for several.",
)
@click.option(
    "--scope",
    type=click.Choice([scope.value for scope in Scope]),
    default=Scope.PREDICT.value,
    show_default=True,
    help="predict: ask for predictions, forecasts, cards and metadata. admin: also load and unload models; "
    "with --for '*' also lists, metrics and documentation.",
)
@click.option(
    "--expires",
    type=_Duration(),
    default="90d",
    show_default=True,
    metavar="TIME",
    help="From now: 90d, 12h, 30m, 45s or never.",
)
@options.registry
def created(users: tuple[str, ...], scope: str, expires: float | None, **given: Any) -> None:
    """Make a key and print it. It is shown once: the registry holds its SHA-256 alone."""
    with _keys(given) as keys:
        click.echo(keys.create(users, Scope(scope), expires))


@command.command("list")
@options.registry
def listed(**given: Any) -> None:
    """List keys by their id, with what they allow and until when; the keys themselves are not stored."""
    with _keys(given) as keys:
        for key in keys.all():
            until = "never expires" if key.expires_at is None else f"expires {_date(key.expires_at)}"
            users = " ".join(key.users)
            click.echo(f"{key.key_id}\t{key.scope}\t{users}\tmade {_date(key.created_at)}\t{until}")


@command.command("revoke")
@click.argument("key_ids", nargs=-1, required=True, metavar="ID...")
@options.registry
def revoked(key_ids: tuple[str, ...], **given: Any) -> int:
    """End keys by their id, which `list` and the key itself show.

    The exit status is 1 where one is unknown.
    """
    with _keys(given) as keys:
        known = keys.revoke(key_ids)
    for key_id in key_ids:
        click.echo(f"{key_id}: {'revoked' if key_id in known else 'no key has this id'}")
    return int(not set(key_ids) <= set(known))


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _keys(given: dict[str, Any]) -> Iterator[KeyBook]:
    settings = options.settings(CommonSettings, **given)
    with RegistryReader.of_existing(settings.registry_url) as registry:
        yield registry.keys()
