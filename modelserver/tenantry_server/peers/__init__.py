"""Peers: this server among the others.

Owns who the other servers are and how they are, the choice of who answers a request, and the connections by
which a request is passed on. Refuses to look into requests and answers.
"""
