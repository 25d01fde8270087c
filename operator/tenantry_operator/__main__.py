"""`python -m tenantry_operator`: the operator of a cluster, configured by its environment alone."""

import sys

from tenantry import TenantryError, logs
from tenantry_operator.cluster_process import run
from tenantry_operator.settings import OperatorSettings


def main() -> None:
    """Follow the cluster with the settings in TENANTRY_*."""
    try:
        settings = OperatorSettings.load()
        logs.configure(settings.log_level, process="operator")
        run(settings)
    except TenantryError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
