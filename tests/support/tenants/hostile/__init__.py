"""Tenants and callers that do their worst: to their own models, to other tenants, to a fleet."""
