"""Unit tests of `tenantry`."""
