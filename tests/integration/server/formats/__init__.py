"""Integration tests of `tenantry_server.formats`."""
