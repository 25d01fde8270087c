"""HTTP/2 (RFC 9113) as far as a server of gRPC needs it, in the event loop of this process.

Owns frames, windows, and how much of a client's doing is borne. Refuses to know what a call means.
"""
