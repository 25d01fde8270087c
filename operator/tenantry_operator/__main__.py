"""`python -m tenantry_operator`: the operator of a cluster, configured by its environment alone."""

import argparse
import sys

from tenantry import TenantryError
from tenantry.processes import logs
from tenantry_operator.cluster_process import run
from tenantry_operator.settings import OperatorSettings


def main() -> None:
    """Follow the cluster with the settings in TENANTRY_*."""
    argparse.ArgumentParser(
        prog="python -m tenantry_operator",
        description="Runs the operator of a cluster. Takes no options: TENANTRY_* in its environment "
        "configure it; docs/settings.md lists them.",
    ).parse_args()
    try:
        settings = OperatorSettings.load()
        logs.configure(settings.log_level, process="operator")
        run(settings)
    except (TenantryError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
