"""Assignments: which model answers for which user, as the registry says.

Owns the routing table, this server's lease, and the loading of candidates. Refuses HTTP, and to decide
which server answers a request.
"""
