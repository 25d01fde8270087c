"""What Prometheus sees of tenants: few, escaped, and counters that only grow."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tenantry_server.accounts.accounts import Accounts
from tenantry_server.accounts.exported import ExportedTenants

_ODD = 'a"b\\c\n{}'


async def series(exported: ExportedTenants) -> dict[tuple[str, ...], float]:
    """Every sample by its name, its user and its other label, as Prometheus reads the text."""
    await exported.refresh()
    registry = CollectorRegistry()
    registry.register(exported)
    text = generate_latest(registry).decode()
    return {
        (sample.name, sample.labels.pop("user_id"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_tenant_is_shown_with_all_that_it_does() -> None:
    accounts = Accounts()
    for status in (200, 500, 504, 422, 429):
        accounts.ended(_ODD, status, 0.002)
    accounts.spent(_ODD, 0.5)
    found = await series(ExportedTenants(accounts, lambda: {_ODD: 77}, 10))
    assert found == {
        ("tenantry_tenant_requests_total", _ODD): 5,
        ("tenantry_tenant_errors_total", _ODD, "client"): 1,
        ("tenantry_tenant_errors_total", _ODD, "server"): 1,
        ("tenantry_tenant_errors_total", _ODD, "timeout"): 1,
        ("tenantry_tenant_errors_total", _ODD, "limited"): 1,
        ("tenantry_tenant_cpu_seconds_total", _ODD): 0.5,
        ("tenantry_tenant_bytes", _ODD): 77,
        ("tenantry_tenant_latency_seconds", _ODD, "0.5"): 0.00175,
        ("tenantry_tenant_latency_seconds", _ODD, "0.99"): pytest.approx(0.002485),
    }


async def test_at_most_three_times_as_many_are_shown_as_the_setting_says() -> None:
    accounts = Accounts()
    for number in range(1000):
        for _ in range(number % 7 + 1):
            accounts.ended(f"asks-{number}", 200, 0.001)
        accounts.ended(f"fails-{number}", 500, 0.001)
        accounts.spent(f"computes-{number}", 0.5)
    found = await series(ExportedTenants(accounts, dict, 4))
    names = {user_id for name, user_id, *_ in found if name == "tenantry_tenant_requests_total"}
    assert (
        sorted(name.partition("-")[0] for name in names) == ["asks"] * 4 + ["computes"] * 4 + ["fails"] * 4
    )
    assert await series(ExportedTenants(accounts, dict, 0)) == {}


async def test_counters_of_those_who_stay_only_grow() -> None:
    """Else Prometheus would see a restart every hour, and count what it has counted."""
    accounts = Accounts()
    exported = ExportedTenants(accounts, dict, 2)
    seen = [0.0]
    for _ in range(6):
        accounts.ended("ann", 500, 0.001)
        accounts.spent("ann", 0.25)
        found = await series(exported)
        seen.append(found["tenantry_tenant_requests_total", "ann"])
        assert found["tenantry_tenant_cpu_seconds_total", "ann"] == seen[-1] * 0.25
        accounts.turn()
    assert seen == [0, 1, 2, 3, 4, 5, 6]


async def test_what_is_kept_of_those_who_were_shown_is_bounded() -> None:
    accounts = Accounts()
    exported = ExportedTenants(accounts, dict, 1)
    for number in range(20):
        for _ in range(number + 1):
            accounts.ended(f"user-{number}", 200, 0.001)
        await series(exported)
        accounts.turn()
    assert len(exported._earlier) <= 1
