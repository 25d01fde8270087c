"""Tenantry's operator: keeps the registry in step with declared TenantModels, writes their statuses."""
