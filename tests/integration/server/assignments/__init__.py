"""Integration tests of `tenantry_server.assignments`."""
