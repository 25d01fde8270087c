"""Artifacts: which exact bytes stand under a declared name now.

Owns the lookups in folders and S3, and the only use of boto3 on this side. Refuses to read a model.
"""
