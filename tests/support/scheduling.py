"""Which worker of pytest-xdist runs which test: whole files, and all that need an API server on one.

An API server at rest takes 3 % of a core, and 6 s of CPU to start; every worker would have one or two.
"""

from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

_NEEDS = (
    "ControlPlane",
    '"plane"',
    '"modern"',
)  # in the text of a file that uses one, or the fixture of one


class Scheduling(LoadFileScheduling):
    """By files, in the order of collection; the files with an API server are one unit of work."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "an API server" if _needs_a_plane(self.config, file) else file


@cache
def _needs_a_plane(config: pytest.Config, file: str) -> bool:
    text = (Path(config.rootpath) / file).read_text()
    return any(each in text for each in _NEEDS)
