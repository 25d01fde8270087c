"""Clients of the tests: HTTP/1.1 for load and for JSON, HTTP/2 frame by frame, and a browser."""
