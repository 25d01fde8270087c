"""Where `tenantry up` serves the page of the fleet, and to whom."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tenantry.registry import open_engine
from tenantry_cli import page
from tests.support.databases.migrated import migrate


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("TENANTRY_UI", "TENANTRY_AUTH"):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "::"])
def test_it_is_on_loopback_wherever_the_servers_listen(registry: str, host: str) -> None:
    with page.beside(registry, host, 0, None) as url:
        assert url is not None
        assert url.startswith("http://127.0.0.1:")
        assert _status(url) == 200


def test_it_asks_for_a_key_where_the_servers_do(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_AUTH", "required")
    with page.beside(registry, "192.0.2.1", 0, None) as url:
        assert url is not None
        assert url.startswith("http://127.0.0.1:")
        assert _status(url) == 401


def test_a_setting_opens_it_where_the_servers_listen_or_turns_it_off(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_UI", "keys")
    with page.beside(registry, "localhost", 0, 0) as url:
        assert url is not None
        assert url.startswith("http://localhost:")
        assert _status(url) == 401
    monkeypatch.setenv("TENANTRY_UI", "off")
    with page.beside(registry, "localhost", 0, 0) as url:
        assert url is None


def test_a_taken_port_beside_the_clients_is_no_reason_to_fail(registry: str, taken: int) -> None:
    with page.beside(registry, "127.0.0.1", taken - 1, None) as url:
        assert url is not None
        assert f":{taken}/" not in url
        assert _status(url) == 200


def test_a_taken_port_that_was_asked_for_is(registry: str, taken: int) -> None:
    with (
        pytest.raises(click.ClickException, match="choose another --ui-port"),
        page.beside(registry, "127.0.0.1", 0, taken),
    ):
        pass
