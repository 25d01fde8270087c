"""Many TenantModels judged at once, and the words for a person who reads why a task failed."""

from collections.abc import Mapping
from typing import Any

from tenantry.manifest import status
from tenantry.manifest.status import State, Status
from tenantry_airflow.awaited import Awaited, Key
from tenantry_airflow.standing import stand

MODEL_ID = "s3://m/{}.joblib#sha256=" + "ab" * 32


def awaited(name: str) -> Awaited:
    return Awaited("default", name, f"user-of-{name}", MODEL_ID.format(name))


def seen(name: str, state: State, reason: str = "Because") -> dict[Key, Mapping[str, Any]]:
    exact = MODEL_ID.format(name)
    said = Status(state, reason, f"words of {name}", 1, exact if state is State.READY else None)
    model = {"uri": exact.partition("#")[0], "sha256": "ab" * 32}
    return {
        ("default", name): {
            "metadata": {"generation": 1},
            "spec": {"userId": f"user-of-{name}", "model": model},
            "status": {
                "observedGeneration": 1,
                "modelId": said.model_id,
                "conditions": status.conditions(said, status.since(None, {}, said, 0.0)),
            },
        }
    }


def test_it_is_ready_once_every_one_is() -> None:
    both = [awaited("a"), awaited("b")]
    half = seen("a", State.READY) | seen("b", State.RECONCILING)
    assert not stand(both, half).ready
    assert stand(both, half | seen("b", State.READY)).ready


def test_others_of_the_listing_do_not_count() -> None:
    """A cluster has tenants of other pipelines, Stalled ones among them."""
    assert stand([awaited("a")], seen("a", State.READY) | seen("c", State.STALLED)).ready


def test_an_older_version_that_is_ready_does_not_count() -> None:
    newer = Awaited("default", "a", "user-of-a", MODEL_ID.format("newer"))
    standing = stand([newer], seen("a", State.READY))
    assert not standing.ready
    assert "has not read this version yet" in standing.text


def test_the_stalled_are_named_and_the_waiting_are_left_out() -> None:
    standing = stand(
        [awaited("a"), awaited("b"), awaited("c")],
        seen("a", State.READY) | seen("b", State.RECONCILING) | seen("c", State.STALLED, "PolicyDenied"),
    )
    assert standing.text == (
        "1 of 3 TenantModels are Stalled\n  user user-of-c (c): PolicyDenied: words of c"
    )


def test_of_thousands_a_few_are_named_and_the_reasons_are_counted() -> None:
    """A task's failure is read in a log and in a mail."""
    names = [f"s{number}" for number in range(3000)]
    listed: dict[Key, Mapping[str, Any]] = {}
    for number, name in enumerate(names):
        listed |= seen(name, State.RECONCILING, "NoServer" if number % 3 else "Loading")
    text = stand([awaited(name) for name in names], listed).text
    assert text.startswith("3000 of 3000 TenantModels are not Ready yet (NoServer: 2000, Loading: 1000)\n")
    assert text.endswith("\n  and 2980 more")
    assert text.count("\n") == 21
