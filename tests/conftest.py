"""Fixtures for tests only; those that docstring examples also need are in the folder above."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tenantry_server.workers import fork_server
from tenantry_server.workers.forking import environment
from tests.support.kubernetes import home
from tests.support.kubernetes.binaries import modern_assets
from tests.support.kubernetes.binaries.envtest_assets import provide
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.scheduling import Scheduling

_FORKING = ("e2e", "integration", "apart")  # tests that start servers
_HERE = Path(__file__).parent
# Models of the tests' own are in `tests.support`, which workers read only where this names it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(_HERE.parent), os.environ.get("PYTHONPATH", "")))
)
# The files that wait longest are begun first, so that no worker is left alone with one at the end.
_FIRST = tuple(_HERE / folder for folder in ("e2e", "integration", "contract"))


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A real API server with etcd; the first run on a machine without their binaries builds them."""
    with ControlPlane(provide(), users=[("nobody", ["strangers"])], audit=True) as running:
        yield running


@pytest.fixture(scope="session")
def modern() -> Iterator[ControlPlane]:
    """An API server that knows CEL and selectable fields; built once, where the core is too old."""
    try:
        newer = modern_assets.plane(provide(), users=[("nobody", ["strangers"])])
    except modern_assets.ModernUnavailable as error:
        print(f"CRDs are tested on the old API server alone: {error}", file=sys.stderr)
        pytest.skip(str(error))
    with newer as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_by_others(request: pytest.FixtureRequest) -> None:
    """The API servers are shared by the files of a worker, one after another."""
    items = (item for item in request.session.items if item.path == request.node.path)
    used = {name for item in items for name in getattr(item, "fixturenames", ())}
    for name in {"plane", "modern"} & used:
        with suppress(pytest.skip.Exception):  # where there is none, each test says so
            home.forget_all(request.getfixturevalue(name))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """End to end first, units last; whatever may have to build the API server has the time for it."""
    items.sort(key=_rank)
    if any(item.path.is_relative_to(_HERE / folder) for item in items for folder in _FORKING):
        _share_a_fork_server(config)
    for item in items:
        if {"plane", "modern"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Share API servers between files, not only between the tests of one worker."""
    return Scheduling(config, log)


def _share_a_fork_server(config: pytest.Config) -> None:
    """As `tenantry up` does for its servers: to import the libraries is a third of what a server costs."""
    if hasattr(config, "workerinput") or config.getoption("numprocesses", None) is None:
        sharing = ExitStack()
        os.environ.update(sharing.enter_context(fork_server.shared(environment(os.environ))))
        config.add_cleanup(sharing.close)


def _rank(item: pytest.Item) -> int:
    ranks = [rank for rank, folder in enumerate(_FIRST) if item.path.is_relative_to(folder)]
    return ranks[0] if ranks else len(_FIRST)
