"""Unit tests of `tenantry_server.formats`."""
