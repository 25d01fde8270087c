"""What tells a server of changes before it polls for them: a watch of the cluster, where it has one."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tenantry.errors import InvalidSetting
from tenantry_server.settings import ServerSettings

WakeUps = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
"""Calls its argument for each event, until cancelled."""


def wake_ups_of(settings: ServerSettings) -> WakeUps:
    """Return wake-ups for changes on the cluster; without the setting, they never come.

    Raises:
        InvalidSetting: the client for a cluster is not installed.
    """
    if not settings.kubernetes_watch:
        return lambda _: asyncio.sleep(0)
    try:
        from tenantry_server.assignments import kubernetes_wakeups  # noqa: PLC0415 - its client takes a while to import
    except ModuleNotFoundError as error:
        raise InvalidSetting(
            f"TENANTRY_KUBERNETES_WATCH needs {error.name}: pip install 'tenantry[kubernetes]'"
        ) from None
    return partial(kubernetes_wakeups.run, settings.namespace)
