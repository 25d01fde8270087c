"""Unit tests of `tenantry_server.memory`."""
