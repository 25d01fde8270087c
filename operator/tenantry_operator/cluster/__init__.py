"""Cluster: TenantModels from a Kubernetes API server, and their statuses back to it.

Owns the watch, the full listings, the status writer, the leader election, and the only uses of kopf and the
Kubernetes client on this side. Refuses every decision about a TenantModel.
"""
