"""Tests of `tenantry_server.access`."""
