"""Integration tests of `tenantry_server.shards`."""
