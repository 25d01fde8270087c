"""Fixtures for tests only; those that docstring examples also need are in the folder above."""

from collections.abc import Iterator

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.envtest_assets import provide


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A real API server with etcd; the first run on a machine without their binaries builds them."""
    with ControlPlane(provide(), users=[("nobody", ["strangers"])], audit=True) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever may have to build the API server has the time for it."""
    for item in items:
        if "plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(1800))
