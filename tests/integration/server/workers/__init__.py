"""Integration tests of `tenantry_server.workers`."""
