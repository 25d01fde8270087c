"""Wire: what is common to everything that arrives and leaves by HTTP.

Owns headers, deadlines, bodies, and the only mapping of errors to statuses. Refuses to know protocols.
"""
