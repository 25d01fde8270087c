"""Requests for forecasts in other protocols than Tenantry's own, before any model has seen them."""
