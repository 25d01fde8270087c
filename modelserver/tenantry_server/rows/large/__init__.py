"""Large JSON bodies as arrays: a process beside the server reads a body, the server computes with numbers.

Owns the payload that stands on such arrays, and how a body becomes them. Refuses sockets and processes.
"""
