"""Tenants whose answers are known."""
