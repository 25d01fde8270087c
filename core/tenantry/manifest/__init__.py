"""A TenantModel as people declare it and read it: its fields and limits, its status, its readiness."""
