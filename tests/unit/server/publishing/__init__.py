"""Unit tests of `tenantry_server.publishing`."""
