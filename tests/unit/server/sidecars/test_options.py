"""What a sidecar is started with."""

from pathlib import Path
from typing import Any

import pytest

from tenantry.errors import InvalidSetting
from tenantry.manifest.limits import Limits
from tenantry_server.settings import ServerSettings
from tenantry_server.sidecars import options

RIGHT = {"fleet_url": "http://tenantry.tenantry.svc", "fleet_secret": "correct horse battery staple"}


def test_a_pipe_hands_over_what_the_settings_say(tmp_path: Path) -> None:
    settings = ServerSettings.load(
        **RIGHT, server_id="pod-0", socket=tmp_path / "t.sock", probe_port=8081, limit_rows=5
    )
    given = options.taken_over(options.of(settings).hand_over())
    assert given == options.of(settings)
    assert (given.server_id, given.host, given.socket) == ("pod-0", "127.0.0.1", str(tmp_path / "t.sock"))
    assert given.secrets.current == RIGHT["fleet_secret"]
    assert given.default_limits() == Limits(rows=5)


def test_its_near_cache_is_smaller_than_a_servers_unless_it_is_told() -> None:
    assert options.of(ServerSettings.load(**RIGHT)).near_cache_bytes == options.NEAR_CACHE_BYTES
    assert options.of(ServerSettings.load(**RIGHT, near_cache_bytes=64 << 20)).near_cache_bytes == 64 << 20


def test_the_secret_may_stand_in_a_file_and_change_there(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    settings = ServerSettings.load(fleet_url=RIGHT["fleet_url"], fleet_secret_file=file)
    given = options.taken_over(options.of(settings).hand_over())
    assert given.secret is None
    assert given.secrets.current == "first"


def test_limits_of_the_servers_hold_where_its_own_settings_say_nothing() -> None:
    given = options.of(ServerSettings.load(**RIGHT, limit_rows=5))
    assert given.default_limits('{"rows":9,"concurrency":2}') == Limits(rows=5, concurrency=2)
    assert options.of(ServerSettings.load(**RIGHT)).default_limits() is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"host": "::"}, "TENANTRY_HOST must be a loopback address"),
        ({"fleet_secret": ""}, "TENANTRY_FLEET_SECRET_FILE"),
        ({"fleet_url": " "}, "TENANTRY_FLEET_URL"),
        ({"auth": "required"}, "TENANTRY_AUTH=off"),
        ({"tls_cert": Path("cert.pem")}, "TENANTRY_TLS_KEY"),
    ],
)
def test_what_no_sidecar_can_do_is_refused_in_words(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        options.of(ServerSettings.load(**(RIGHT | wrong)))
