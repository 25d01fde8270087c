"""The operator decides by the policies that stand now, and looks up nothing that they deny."""

from typing import Any

import pytest

from tenantry import ModelId
from tenantry.manifest.spec import ModelSource
from tenantry.registry import schema
from tenantry_operator.policies.document import TenantPolicy
from tenantry_operator.policies.rules import Policies
from tests.support.operator.rig import Rig, Server

LABELS = {"default": {}, "team-a": {"tier": "gold"}, "team-b": {}}


def policies(labels: Any = LABELS, **spec: Any) -> Policies:
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantPolicy",
        "metadata": {"name": "teams"},
        "spec": spec,
    }
    return Policies([TenantPolicy.parse(document)], labels)


@pytest.fixture
def server(rig: Rig) -> Server:
    return Server(rig.engine, "s1")


def message(rig: Rig, name: str) -> str:
    claim = next(c for c in rig.registry.claims() if c.uid == f"uid-{name}")
    return str(claim.conditions[0]["message"])


def test_a_denied_one_is_stalled_holds_no_user_and_is_not_looked_up(rig: Rig, server: Server) -> None:
    asked: list[str] = []

    def resolve(source: ModelSource, resolve: Any = rig.resolve) -> ModelId:
        asked.append(source.uri)
        found: ModelId = resolve(source)
        return found

    rig.resolve = resolve
    rig.controller.govern(policies(userIds=["${namespace}.*"]))
    denied = rig.declare("robber", user="team-a.1", namespace="team-b", created_at=1.0)
    permitted = rig.declare("theirs", user="team-a.1", namespace="team-a", created_at=2.0)
    rig.until_ready(server)
    assert rig.reason("robber") == "PolicyDenied"
    assert message(rig, "robber").startswith("TenantPolicy 'teams', rule userIds: 'team-a.1' matches none")
    assert rig.status("theirs") == ("Ready", server.answer("team-a.1"))
    assert denied.model is not None
    assert permitted.model is not None
    assert set(asked) == {permitted.model.spec.model.uri}
    assert rig.rows(schema.bindings) == [("team-a.1", "team-a")]


def test_policies_are_followed_live_both_ways(rig: Rig, server: Server) -> None:
    rig.declare("ann", namespace="team-a")
    rig.until_ready(server)
    before = server.answer("ann")
    rig.controller.govern(policies(userIds=["x*"]))
    rig.until_ready(server)
    assert rig.status("ann") == ("PolicyDenied", before), "what was permitted goes on answering"
    rig.declare("ann", "2", namespace="team-a")
    rig.until_ready(server)
    assert server.answer("ann") == before, "and nothing new comes"
    rig.controller.govern(Policies())
    rig.until_ready(server)
    assert rig.reason("ann") == "Ready"
    assert server.answer("ann") not in (None, before)


def test_the_verdict_outlives_a_restart(rig: Rig, server: Server) -> None:
    rig.controller.govern(policies(userIds=["x*"]))
    rig.declare("ann", namespace="team-a")
    rig.until_ready(server)
    rig.restart()
    rig.controller.govern(policies(userIds=["x*"]))
    rig.until_ready(server)
    assert rig.status("ann") == ("PolicyDenied", None)
    assert server.answer("ann") is None


def test_nothing_is_decided_before_policies_and_labels_are_known(rig: Rig, server: Server) -> None:
    rig.policies = None  # as in both processes
    rig.restart()
    rig.declare("ann", namespace="team-a")
    rig.until_ready(server)
    assert rig.registry.claims() == []
    rig.controller.govern(policies({}, userIds=["x*"], namespaceSelector={"matchLabels": {"tier": "gold"}}))
    rig.until_ready(server)
    assert rig.registry.claims() == [], "a namespace that is newer than the labels"
    rig.controller.govern(policies(userIds=["x*"], namespaceSelector={"matchLabels": {"tier": "gold"}}))
    rig.until_ready(server)
    assert rig.reason("ann") == "PolicyDenied"


def test_a_rule_about_signatures_is_in_what_servers_are_asked_to_load(rig: Rig, server: Server) -> None:
    """Also where it comes later: the model in force stays until a signed one has been loaded beside it."""
    rig.declare("ann", namespace="team-a")
    rig.until_ready(server)
    before = ModelId.parse(str(server.answer("ann")))
    rig.controller.govern(policies(signatures="required"))
    rig.until_ready(server)
    after = ModelId.parse(str(server.answer("ann")))
    assert (before.signatures, after.signatures) == (None, "required")
    assert after.uri == before.uri
    rig.restart()
    rig.controller.govern(policies(signatures="required"))
    rig.until_ready(server)
    assert ModelId.parse(str(server.answer("ann"))) == after
    rig.controller.govern(policies())
    rig.until_ready(server)
    assert ModelId.parse(str(server.answer("ann"))) == before
