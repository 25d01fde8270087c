"""Shards: which models belong in this server's memory before anybody asks for them.

Owns prewarming, the record of the users that this server answers most, dropping misplaced models, and
the hand-over before a stop. Refuses to answer requests.
"""
