"""`python -m tenantry_server`: a model server configured by its environment alone."""

import argparse
import sys

from tenantry import TenantryError
from tenantry.processes import logs
from tenantry_server.process import run
from tenantry_server.settings import ServerSettings


def main() -> None:
    """Serve with the settings in TENANTRY_*."""
    argparse.ArgumentParser(
        prog="python -m tenantry_server",
        description="Runs a model server. Takes no options: TENANTRY_* in its environment configure it; "
        "docs/settings.md lists them.",
    ).parse_args()
    try:
        settings = ServerSettings.load()
        logs.configure(settings.log_level, process=settings.server_id)
        run(settings)
    except (TenantryError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
