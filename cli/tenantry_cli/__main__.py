"""`python -m tenantry_cli`: the `tenantry` command where no script is installed."""

from tenantry_cli.main import main

if __name__ == "__main__":
    main()
