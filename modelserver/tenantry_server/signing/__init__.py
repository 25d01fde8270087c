"""Signatures of artifacts (OpenSSF model signing): who is trusted, verifying, and signing.

Owns the trusted files and the calls of `model-signing`, which is imported only where something is verified
or signed. Refuses to read an artifact: callers bring its digest, or its bytes.
"""
