"""The one backoff of the product."""

import pytest

from tenantry.processes import backoff


@pytest.mark.parametrize(("failures", "base_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (5000, 30.0)])
def test_the_wait_doubles_up_to_its_bound_and_keeps_its_jitter(failures: int, base_s: float) -> None:
    waits = {backoff.delay_s(failures, first_s=0.5, last_s=30.0) for _ in range(200)}
    assert 0.8 * base_s <= min(waits) < max(waits) <= 1.2 * base_s
