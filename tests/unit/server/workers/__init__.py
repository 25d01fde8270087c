"""Unit tests of `tenantry_server.workers`."""
