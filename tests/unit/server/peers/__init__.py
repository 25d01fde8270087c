"""Unit tests of `tenantry_server.peers`."""
