"""Whether the page is there, and for whom."""

import pytest

from tenantry.errors import InvalidSetting
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.probes import Health, Probes
from tenantry_operator.runtime import probes
from tenantry_operator.settings import OperatorSettings, Ui
from tenantry_operator.ui.door import mode_of


@pytest.mark.parametrize(
    ("ui", "auth", "mode"),
    [
        (None, "off", Ui.OFF),
        (None, "required", Ui.OFF),
        ("off", "required", Ui.OFF),
        ("keys", "off", Ui.KEYS),
        ("open", "off", Ui.OPEN),
        ("open", "required", Ui.KEYS),
    ],
)
def test_a_cluster_has_no_page_unless_a_setting_says_so_and_none_is_open_beside_keys(
    monkeypatch: pytest.MonkeyPatch, ui: str | None, auth: str, mode: Ui
) -> None:
    if ui is not None:
        monkeypatch.setenv("TENANTRY_UI", ui)
    monkeypatch.setenv("TENANTRY_AUTH", auth)
    settings = OperatorSettings.load(registry_url="sqlite:///nowhere/x.db", probe_port=0)
    assert mode_of(settings) is mode
    with probes(settings, Health(), OperatorMetrics()) as served:
        assert isinstance(served, Probes)


def test_a_misspelt_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_UI", "on")
    with pytest.raises(InvalidSetting, match="TENANTRY_UI"):
        OperatorSettings.load()
