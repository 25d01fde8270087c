"""Unit tests of `tenantry_server.wire`."""
