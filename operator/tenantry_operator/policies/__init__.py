"""Policies: who may declare what.

Owns the TenantPolicy document and the verdict of all policies on one TenantModel, both pure. Refuses to
read a file or an API server: sources hand the documents in.
"""
