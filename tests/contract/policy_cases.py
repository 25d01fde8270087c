"""What policies permit and what they deny, with the rule to blame."""

from dataclasses import dataclass, field
from typing import Any

URI = "s3://models/team-a/7.skops"


@dataclass(frozen=True)
class Case:
    """A TenantModel of namespace team-a under one policy.

    Attributes:
        rule: that denies it; None: it is permitted.
    """

    policy: dict[str, Any]
    rule: str | None
    user: str = "team-a.1"
    uri: str = URI
    model: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=lambda: {"tier": "gold"})

    @property
    def declared(self) -> dict[str, Any]:
        return {"userId": self.user, "model": {"uri": self.uri, **self.model}, **self.spec}


def _selecting(rule: str | None = "methods", **selector: Any) -> Case:
    return Case({"namespaceSelector": selector, "methods": ["predict_proba"]}, rule)


def _requirement(operator: str, *values: str, key: str = "tier") -> dict[str, Any]:
    required: dict[str, Any] = {"key": key, "operator": operator}
    return {"matchExpressions": [required | ({"values": list(values)} if values else {})]}


CASES: dict[str, Case] = {
    "no rule": Case({}, None),
    "its own user": Case({"userIds": ["${namespace}.*"]}, None),
    "another's user": Case({"userIds": ["${namespace}.*"]}, "userIds", user="team-b.1"),
    "a dot is a dot": Case({"userIds": ["${namespace}.*"]}, "userIds", user="team-a-1"),
    "a plus is a plus": Case({"userIds": ["a+b*"]}, "userIds", user="aab"),
    "a user with a plus": Case({"userIds": ["a+b*"]}, None, user="a+b1"),
    "a whole user, not a part": Case({"userIds": ["ann"]}, "userIds", user="ann2"),
    "a whole user, not an end": Case({"userIds": ["ann"]}, "userIds", user="joann"),
    "one of two patterns": Case({"userIds": ["x*", "*n"]}, None, user="ann"),
    "its own folder": Case({"uris": ["s3://models/${namespace}/"]}, None),
    "another's folder": Case(
        {"uris": ["s3://models/${namespace}/"]}, "uris", uri="s3://models/team-ab/7.skops"
    ),
    "another's bucket": Case({"uris": ["s3://${namespace}-models/"]}, "uris"),
    "out of its folder": Case(
        {"uris": ["s3://models/team-a/"]}, "uris", uri="s3://models/team-a/../team-b/7.skops"
    ),
    "out of its folder in the end": Case({"uris": ["file:///m/"]}, "uris", uri="file:///m/x/.."),
    "dots in a name": Case({"uris": ["s3://models/team-a/"]}, None, uri="s3://models/team-a/a..b.skops"),
    "another's card": Case(
        {"uris": ["s3://models/team-a/"]},
        "uris",
        model={"card": {"uri": "s3://models/team-b/7.skops.card.json", "sha256": "0" * 64}},
    ),
    "its own card": Case(
        {"uris": ["s3://models/team-a/"]},
        None,
        model={"card": {"uri": "s3://models/team-a/7.skops.card.json", "sha256": "0" * 64}},
    ),
    "a format by its suffix": Case({"formats": ["skops"]}, None),
    "a suffix in capitals": Case({"formats": ["skops"]}, None, uri="s3://models/7.SKOPS"),
    "code by its suffix": Case({"formats": ["skops"]}, "formats", uri="s3://models/7.pkl"),
    "code under another suffix": Case({"formats": ["skops"]}, "formats", model={"format": "sklearn"}),
    "no suffix": Case({"formats": ["skops"]}, "formats", uri="s3://models/skops"),
    "the default method": Case({"methods": ["predict"]}, None),
    "another method": Case({"methods": ["predict"]}, "methods", model={"method": "predict_proba"}),
    "several methods": Case(
        {"methods": ["predict", "predict_proba"]}, None, model={"method": ["predict_proba", "predict"]}
    ),
    "one too many": Case(
        {"methods": ["predict"]}, "methods", model={"method": ["predict", "predict_proba"]}
    ),
    "a list of one": Case({"methods": ["predict"]}, None, model={"method": ["predict"]}),
    "shared workers": Case({"isolation": ["dedicated"]}, "isolation"),
    "a worker of its own": Case({"isolation": ["dedicated"]}, None, spec={"isolation": "dedicated"}),
    "few replicas": Case({"maxReplicas": 2}, None, spec={"replicas": 2}),
    "many replicas": Case({"maxReplicas": 2}, "maxReplicas", spec={"replicas": 3}),
    "limits within": Case(
        {"limits": {"requestsPerSecond": 5.5, "rows": 10}},
        None,
        spec={"limits": {"requestsPerSecond": 5.5, "rows": 9, "burst": 100}},
    ),
    "no limits, where a policy has some": Case({"limits": {"rows": 10}}, None),
    "too many requests": Case(
        {"limits": {"requestsPerSecond": 5.5}}, "limits", spec={"limits": {"requestsPerSecond": 5.6}}
    ),
    "too large a burst": Case({"limits": {"burst": 2}}, "limits", spec={"limits": {"burst": 3}}),
    "too many at once": Case({"limits": {"concurrency": 2}}, "limits", spec={"limits": {"concurrency": 3}}),
    "too many rows": Case({"limits": {"rows": 2}}, "limits", spec={"limits": {"rows": 3}}),
    "too much memory": Case({"limits": {"cacheBytes": 2}}, "limits", spec={"limits": {"cacheBytes": 3}}),
    "signatures, which servers verify": Case({"signatures": "required"}, None),
    "an empty selector": _selecting(),
    "selected by its label": _selecting(matchLabels={"tier": "gold"}),
    "another label": _selecting(None, matchLabels={"tier": "iron"}),
    "no such label": _selecting(None, matchLabels={"owner": "ann"}),
    "one of the values": _selecting(**_requirement("In", "gold", "iron")),
    "none of the values": _selecting(None, **_requirement("In", "iron")),
    "excluded": _selecting(None, **_requirement("NotIn", "gold")),
    "not excluded": _selecting(**_requirement("NotIn", "iron")),
    "not excluded, without the label": _selecting(**_requirement("NotIn", "x", key="owner")),
    "has the label": _selecting(**_requirement("Exists")),
    "has no such label": _selecting(None, **_requirement("Exists", key="owner")),
    "must not have it": _selecting(None, **_requirement("DoesNotExist")),
    "by its name": _selecting(matchLabels={"kubernetes.io/metadata.name": "team-a"}),
    "by another name": _selecting(None, matchLabels={"kubernetes.io/metadata.name": "team-b"}),
}
