"""Unit tests of `tenantry_operator.ui`."""
