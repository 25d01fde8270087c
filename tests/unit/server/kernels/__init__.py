"""Unit tests of `tenantry_server.kernels`."""
