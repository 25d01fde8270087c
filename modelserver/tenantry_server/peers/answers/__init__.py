"""Answers of peers: read by strict rules, and written again for the client.

Owns which answers count, header by header and body by body. Refuses to copy: no byte of a head that a peer
sent reaches a client unread, so a hostile peer neither adds to a client's connection nor shifts where its
answers begin. Refuses to know connections.
"""
