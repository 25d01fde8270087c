"""Unit tests of `tenantry_server.artifacts`."""
