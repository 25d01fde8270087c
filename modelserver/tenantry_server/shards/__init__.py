"""Shards: which models belong in this server's memory before anybody asks for them.

Owns prewarming, the record of whom this server answers most, dropping models that other servers hold, and
the hand-over before a stop. Refuses to answer requests.
"""
