"""Tenantry's operator: brings the registry in step with the declared TenantModels, and says how far."""
