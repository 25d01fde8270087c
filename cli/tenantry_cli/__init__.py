"""The `tenantry` command: the composition root of the local mode, and tools for people."""
