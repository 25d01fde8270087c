"""Unit tests of `tenantry_server.rows`."""
