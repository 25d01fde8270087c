"""Artifact stores, as both sides see them: where files may lie, and what a store's refusals mean.

Refuses to speak to a store: each side has its own client.
"""
