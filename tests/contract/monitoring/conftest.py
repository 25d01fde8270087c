"""What a fleet exports, and Prometheus' own tool."""

import asyncio

import pytest

from tests.support.monitoring import promtool
from tests.support.monitoring.series import Series, of_operator, of_server


@pytest.fixture(scope="package")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Series]:
    """Every series of operators and servers."""
    return of_operator() | asyncio.run(of_server(tmp_path_factory.mktemp("server")))


@pytest.fixture(scope="package")
def checked_by_prometheus() -> None:
    """A test that needs promtool, and is skipped where it can't be had."""
    try:
        promtool.provide()
    except promtool.PromtoolMissing as error:
        pytest.skip(str(error))
