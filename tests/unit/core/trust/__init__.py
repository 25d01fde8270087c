"""Unit tests of `tenantry.trust`."""
