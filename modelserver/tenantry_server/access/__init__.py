"""Who may ask this server for what: API keys, tokens, and proofs of requests that servers pass on.

Owns the verdict. Refuses HTTP: what a path needs is `protocols.admission`'s, and `wire` answers.
"""
