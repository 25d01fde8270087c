"""`python -m tenantry_server`: a model server configured by its environment alone."""

from tenantry import logs
from tenantry_server.process import run
from tenantry_server.settings import ServerSettings


def main() -> None:
    """Serve with the settings in TENANTRY_*."""
    settings = ServerSettings()
    logs.configure(settings.log_level)
    run(settings)


if __name__ == "__main__":
    main()
