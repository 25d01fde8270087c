"""Unit tests of `tenantry_server.accounts`."""
