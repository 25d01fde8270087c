"""Fixtures for tests only; those that docstring examples also need are in the folder above."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kubernetes import modern_assets
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.envtest_assets import provide

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End to end first, units last; whatever may have to build the API server has the time for it."""
    items.sort(key=_rank)
    for item in items:
        if {"plane", "modern"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(3600))


def _rank(item: pytest.Item) -> int:
    ranks = [rank for rank, folder in enumerate(_FIRST) if item.path.is_relative_to(folder)]
    return ranks[0] if ranks else len(_FIRST)
