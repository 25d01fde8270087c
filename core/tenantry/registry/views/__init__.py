"""The registry as each reader sees it: the operator, a model server, a person who looks through it.

Refuses tables and migrations: they are below, in `tenantry.registry.schema` and `tenantry.registry.engine`.
"""
