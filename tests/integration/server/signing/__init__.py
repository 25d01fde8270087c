"""Tests of `tenantry_server.signing`."""
