"""Integration tests of `tenantry_cli`."""
