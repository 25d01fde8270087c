"""Which pods a StatefulSet is to have; the rest of membership shows in the shard map's own tests."""

from typing import Any

import pytest

from tenantry_operator.fleet.membership import Ordinals


def stateful_set(replicas: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "server"}, "spec": {"replicas": replicas, **more}}


@pytest.mark.parametrize(
    ("server_id", "leaving"),
    [
        ("server-0", False),
        ("server-2", False),
        ("server-3", True),
        ("server-10", True),
        ("server", False),
        ("server-x", False),
        ("server-03", False),
        ("server-٣", False),
        ("other-server-7", False),
        ("server-7-b", False),
    ],
)
def test_only_pods_beyond_the_replicas_are_about_to_go(server_id: str, leaving: bool) -> None:
    """A server of another name may be run by hand beside them."""
    assert Ordinals.of(stateful_set(3)).exclude(server_id) is leaving


def test_ordinals_may_begin_elsewhere() -> None:
    """From 1, say: the third of three is server-3, and is there to stay."""
    ordinals = Ordinals.of(stateful_set(3, ordinals={"start": 1}))
    excluded = [n for n in range(6) if ordinals.exclude(f"server-{n}")]
    assert excluded == [0, 4, 5]


def test_scaled_to_nothing_all_are_about_to_go() -> None:
    assert Ordinals.of(stateful_set(0)).exclude("server-0")


def test_a_name_is_no_pattern() -> None:
    document = {"metadata": {"name": "a.b"}, "spec": {"replicas": 1}}
    assert not Ordinals.of(document).exclude("aXb-5")
