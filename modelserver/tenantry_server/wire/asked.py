"""What is known of a request, for whatever stands around its handler."""

from aiohttp import web

USER = web.RequestKey("user", str)
"""Whom it is for."""
