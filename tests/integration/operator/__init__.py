"""Integration tests of `tenantry_operator`."""
