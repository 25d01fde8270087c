"""The reconciler: what to do about one TenantModel, as a pure function.

Owns the decision, what it depends on and what it consists of. Refuses SQL, clocks and threads.
"""
