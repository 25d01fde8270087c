"""`python -m tenantry_server`: a model server configured by its environment alone."""

import sys

from tenantry import TenantryError, logs
from tenantry_server.process import run
from tenantry_server.settings import ServerSettings


def main() -> None:
    """Serve with the settings in TENANTRY_*."""
    try:
        settings = ServerSettings.load()
        logs.configure(settings.log_level, process=settings.server_id)
        run(settings)
    except TenantryError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
