"""Tests of Tenantry."""
