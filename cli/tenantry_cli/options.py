"""Options that several commands share, and settings made of options and environment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tenantry.errors import InvalidSetting

if TYPE_CHECKING:  # a plain install with the command has no library of settings
    from tenantry.settings import CommonSettings

_S = TypeVar("_S", bound="CommonSettings")
_F = TypeVar("_F", bound=Callable[..., Any])


def registry(command: _F) -> _F:
    """--registry."""
    return click.option(
        "--registry",
        "registry_url",
        metavar="URL",
        help="SQL registry. [TENANTRY_REGISTRY_URL; default: sqlite:///.tenantry/registry.db]",
    )(command)


def server(command: _F) -> _F:
    """--url and --timeout, for what is asked of a model server."""
    url = click.option("--url", help="Base URL of a server. [default: any live one in the registry]")
    timeout = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0.001, max=86_400),
        default=30.0,
        show_default=True,
        help="Seconds.",
    )
    return url(timeout(command))


def log_level(command: _F) -> _F:
    """--log-level."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="debug, info, warning or error. [TENANTRY_LOG_LEVEL; default: info]",
    )(command)


def lifeline(command: _F) -> _F:
    """--lifeline-fd: for processes that `tenantry up` starts."""
    return click.option("--lifeline-fd", type=int, hidden=True)(command)


def settings(kind: type[_S], **given: Any) -> _S:
    """Read settings from the environment; options that were given take precedence.

    Raises:
        click.UsageError: a value breaks its rule; names the setting.
    """
    try:
        return kind.load(**given)
    except InvalidSetting as error:
        raise click.UsageError(str(error)) from None
