"""Processes that follow a model server instead of the registry.

Owns `GET /follow`: the changes that a server hands to its followers, their leases, and what they have
acknowledged. Refuses SQL, and to decide what a request is answered with.
"""
