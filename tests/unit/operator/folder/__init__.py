"""Unit tests of `tenantry_operator.folder`."""
