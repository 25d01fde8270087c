"""Where a sidecar finds the fleet."""

import pytest

from tenantry.errors import InvalidSetting
from tenantry_server.roles import Role
from tenantry_server.settings import ServerSettings


def test_a_process_is_a_server_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServerSettings.load().role is Role.SERVER
    monkeypatch.setenv("TENANTRY_ROLE", "sidecar")
    assert ServerSettings.load().role is Role.SIDECAR


def test_the_fleet_is_a_service_or_several_servers() -> None:
    settings = ServerSettings.load(fleet_url="http://tenantry.tenantry.svc/ https://[::1]:8443")
    assert settings.fleet_urls() == ["http://tenantry.tenantry.svc", "https://[::1]:8443"]


@pytest.mark.parametrize(
    "urls", [None, "", "tenantry.svc", "http://", "http://x/y", "http://x:y", "ftp://x"]
)
def test_what_is_no_fleet_is_said(urls: str | None) -> None:
    with pytest.raises(InvalidSetting, match="TENANTRY_FLEET_URL"):
        ServerSettings.load(fleet_url=urls).fleet_urls()
