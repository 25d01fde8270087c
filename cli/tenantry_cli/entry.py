"""Where the scripts begin: a plain install, which publishes from Python, has no command."""

import sys
from importlib import import_module

_OF_THE_COMMAND = ("click", "rich")


def tenantry() -> None:
    """Run `tenantry`."""
    _run("tenantry_cli.main", "tenantry")


def kubectl_tenantry() -> None:
    """Run `kubectl tenantry`."""
    _run("tenantry_cli.plugin.commands", "kubectl tenantry")


def _run(module: str, name: str) -> None:
    try:
        main = import_module(module).main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_COMMAND:
            raise
        sys.exit(
            f"error: `{name}` is not part of a plain install, which has no {error.name}: "
            "pip install 'tenantry[cli]' (or 'tenantry[all]' to serve models)"
        )
    main()
