"""Unit tests of `tenantry_server.shards`."""
