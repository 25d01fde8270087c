"""What the page shows: the tenants, one of them with a prediction to try, the servers.

Owns: which figures and words stand on it. Refuses: who may see it, and how it is sent.
"""
