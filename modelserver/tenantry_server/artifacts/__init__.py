"""Artifacts: their bytes, read from a folder or S3 and checked against the digest that names them.

Owns the model repositories, the only use of boto3 on this side, the circuit breaker before a store, and the
disk cache. Refuses to know users, requests, or which models stay in memory.
"""
