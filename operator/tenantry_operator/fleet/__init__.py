"""Fleet: the model servers as the operator sees them.

Owns who is there, which server holds which shard, and how many servers a busy user is on. Refuses to know
TenantModels.
"""
