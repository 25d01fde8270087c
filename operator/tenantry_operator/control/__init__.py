"""Control: the loop that brings the registry in step with what is declared.

Owns the reconciler (pure), what is known of each TenantModel, and what each waits for. Refuses to know
where TenantModels come from.
"""
