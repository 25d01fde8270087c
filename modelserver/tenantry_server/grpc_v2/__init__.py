"""The Open Inference Protocol over gRPC: a port that translates its calls to V2 over HTTP, and back.

Every call becomes a request to this same server, without a socket. So callers,
limits, deadlines, peers and freshness are judged once, in one place, and both forms answer alike.

Refuses to know models, users or the fleet.
"""
