"""Views: what the registry and the servers say of tenants, servers and shards, as rows and tables.

Owns reading and adding up. Refuses options and exit statuses; those are the commands'.
"""
