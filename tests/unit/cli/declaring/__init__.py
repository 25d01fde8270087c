"""Tests of `tenantry_cli.declaring`."""
