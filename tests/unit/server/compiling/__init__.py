"""Unit tests of `tenantry_server.compiling`."""
