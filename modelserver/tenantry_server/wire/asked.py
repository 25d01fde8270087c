"""What is known of a request, for whatever stands around its handler."""

from aiohttp import web

USER = web.RequestKey("user", str)
"""Whom it is for."""

BEGAN_S = web.RequestKey("began_s", float)
"""When it arrived, of `time.perf_counter`, where the application goes on with it later."""

FAILED = web.RequestKey("failed", Exception)
"""Why this server itself could not answer it; the application says so in its own words."""
