"""`python -m tenantry_cli`: the `tenantry` command where no script is installed."""

from tenantry_cli.entry import tenantry

if __name__ == "__main__":
    tenantry()
