"""Puts a model server together by its settings. Starts nothing and listens nowhere.

`core` makes what every other part is made with, `warmth` what is in memory before anybody asks, `answering`
what answers requests, `wake_ups` what tells it of changes at once, and `whole` the server.
"""

from tenantry_server.assembly.whole import Parts, assemble

__all__ = ["Parts", "assemble"]
