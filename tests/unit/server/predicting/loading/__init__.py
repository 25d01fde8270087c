"""Unit tests of `tenantry_server.predicting.loading`."""
