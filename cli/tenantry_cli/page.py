"""The page of the fleet beside `tenantry up`: served by `up`, so it outlives an operator that dies."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click
import structlog

from tenantry.errors import InvalidSetting
from tenantry.processes import addresses
from tenantry_operator.settings import OperatorSettings, Ui
from tenantry_operator.ui import serving, site
from tenantry_operator.ui.door import mode_of

log = structlog.get_logger(__name__)

_LOOPBACK = "127.0.0.1"
_LAST_PORT = 65_535


@contextmanager
def beside(registry_url: str, host: str, clients_port: int, port: int | None) -> Iterator[str | None]:
    """Serve the page during the block.

    Without TENANTRY_UI it is on loopback, wherever the servers listen: it shows every tenant.

    Args:
        registry_url: of the registry, whose tables exist.
        host: where the servers listen.
        clients_port: of the servers; 0: one that the system chose.
        port: of the page, 0: one that the system chooses; None: the one after the clients', if it is free.

    Yields:
        its address; None: TENANTRY_UI turns it off.

    Raises:
        click.ClickException: it can't be served as asked for.
    """
    settings = OperatorSettings.load(registry_url=registry_url)
    if settings.ui is None:
        host = host if host in (_LOOPBACK, "::1", "localhost") else _LOOPBACK
        settings = settings.model_copy(update={"ui": Ui.OPEN})
    mode = mode_of(settings)
    if mode is Ui.OFF:
        yield None
        return
    with ExitStack() as open_until_the_end:
        yield open_until_the_end.enter_context(_served(settings, mode, host, _ports(clients_port, port)))


@contextmanager
def _served(settings: OperatorSettings, mode: Ui, host: str, ports: list[int]) -> Iterator[str]:
    try:
        page = site.of_settings(settings, mode)
    except InvalidSetting as error:
        raise click.ClickException(str(error)) from None
    with ExitStack() as stack:
        for port in ports:
            try:
                url = stack.enter_context(serving.serving(host, port, page))
            except OSError as error:
                why, where = os.strerror(error.errno or 0), addresses.shown(host, port)
                if port == ports[-1]:
                    raise click.ClickException(
                        f"can't listen on {where} for the page ({why}); choose another --ui-port"
                    ) from None
                log.info("the page takes another port", taken=where)
            else:
                break
        yield url


def _ports(clients_port: int, port: int | None) -> list[int]:
    """Return which ports to try."""
    if port is not None:
        return [port]
    return [clients_port + 1, 0] if 0 < clients_port < _LAST_PORT else [0]
