"""Errors as a client reads them: body, status, and refusals of bytes that are not a request."""
