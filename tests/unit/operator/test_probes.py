"""What the kubelet reads from the probes."""

import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tenantry_operator.control.controller import Controller
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.probes import Health, Probes
from tests.support.network.ipv6 import needs_ipv6


def _controller(**state: Any) -> Controller:
    return cast("Controller", SimpleNamespace(**state))


def test_a_reconciler_that_hangs_is_a_reason_to_restart() -> None:
    """And a slow pass, or none at all before it leads, is not."""
    now_s = 1000.0
    health = Health(lambda: now_s)
    assert health.stuck() is None
    health.controller = _controller(turned_at_s=900.0, listed=True)
    assert health.stuck() is None
    health.controller = _controller(turned_at_s=800.0, listed=True)
    assert health.stuck() == "the reconciler has not finished a pass for 200 s"


def test_a_standby_is_ready_where_it_can_wait_and_a_leader_once_it_has_listed() -> None:
    health = Health()
    assert health.unready() is not None
    health.standing_by = lambda: "can't make the Lease"
    assert health.unready() == "can't make the Lease"
    health.standing_by = lambda: None
    assert health.unready() is None
    health.standing_by = None
    health.controller = _controller(turned_at_s=0.0, listed=False)
    assert health.unready() == "the TenantModels have not been listed yet"
    health.controller = _controller(turned_at_s=0.0, listed=True)
    assert health.unready() is None


def test_a_probe_that_fails_says_why() -> None:
    with (
        Probes("127.0.0.1", 0, Health(), OperatorMetrics()) as probes,
        pytest.raises(urllib.error.HTTPError) as refused,
    ):
        urllib.request.urlopen(f"{probes.url}/readyz", timeout=10)
    assert refused.value.code == 503
    assert refused.value.read() == b"the TenantModels have not been listed yet\n"
    refused.value.close()


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_probes_are_asked_over_ipv6(host: str) -> None:
    """As in a cluster that has nothing else."""
    with Probes(host, 0, Health(), OperatorMetrics()) as probes:
        port = probes.url.rpartition(":")[2]
        with urllib.request.urlopen(f"http://[::1]:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
