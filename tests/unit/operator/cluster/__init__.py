"""Unit tests of `tenantry_operator.cluster`."""
