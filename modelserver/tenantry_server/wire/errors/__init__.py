"""Errors as a client reads them: body and status by protocol, and refusals of bytes that are not a request."""
