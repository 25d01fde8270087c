"""Whom a process trusts, and how others know it: certificates and TLS, the fleet's secrets, proofs by them.

Refuses to say what a caller may do: that is in `tenantry.registry.access` and `tenantry_server.access`.
"""
