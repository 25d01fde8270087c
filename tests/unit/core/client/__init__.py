"""Unit tests of `tenantry.client`."""
