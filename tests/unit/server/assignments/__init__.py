"""Unit tests of `tenantry_server.assignments`."""
