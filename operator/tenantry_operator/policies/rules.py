"""What all policies together say about one TenantModel: pure functions.

Each policy that selects a namespace binds it: a TenantModel there has to satisfy every one of them. A
namespace that no policy selects is not restricted. `manifests/policy/admission.yaml` states the same in
CEL, and one table of cases in the tests drives both. The rule `signatures` denies nothing that is declared:
servers verify what lies in the store.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from tenantry import TenantModel
from tenantry.artifact_formats import SUFFIXES
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.manifest.spec import TenantModelSpec
from tenantry_operator.policies.document import NAMESPACE, PolicySpec, TenantPolicy

NAME_LABEL = "kubernetes.io/metadata.name"
"""Every namespace has it; API servers older than 1.21 do not set it."""

_FORMAT_OF = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
_SHOWN = 5  # of a rule's entries; the rest is counted


@dataclass(frozen=True, slots=True)
class Policies:
    """Every policy, and the labels that their selectors choose by.

    Attributes:
        policies: in the order of their names.
        labels: of each namespace; None: namespaces have no labels but their name, as in a folder.
    """

    policies: Sequence[TenantPolicy] = ()
    labels: Mapping[str, Mapping[str, str]] | None = field(default=None)

    @property
    def names(self) -> list[str]:
        """The policies' names."""
        return [policy.name for policy in self.policies]

    def know(self, namespace: str) -> bool:
        """Return whether it is certain which policies select a namespace."""
        return not self.policies or self.labels is None or namespace in self.labels

    def denial(self, model: TenantModel) -> str | None:
        """Return the first policy that does not permit it and the rule, in words; None: all permit it."""
        for policy in self._binding(model.namespace):
            for rule, words in _broken(policy.spec, model.namespace, model.spec):
                return f"TenantPolicy {policy.name!r}, rule {rule}: {words}"
        return None

    def ceiling(self, namespace: str) -> Limits:
        """Return the most that all policies allow each user of a namespace."""
        allowed = NO_LIMITS
        for policy in self._binding(namespace):
            if policy.spec.limits is not None:
                allowed = allowed.within(policy.spec.limits)
        return allowed

    def wants_signatures(self, namespace: str) -> bool:
        """Return whether a policy lets a namespace have only artifacts that are signed."""
        return any(policy.spec.signatures is not None for policy in self._binding(namespace))

    def _binding(self, namespace: str) -> Iterator[TenantPolicy]:
        """Yield the policies that select a namespace."""
        given = {} if self.labels is None else self.labels.get(namespace, {})
        labels = {**given, NAME_LABEL: namespace}
        return (policy for policy in self.policies if policy.spec.namespace_selector.selects(labels))


NO_POLICIES = Policies()


def _broken(policy: PolicySpec, namespace: str, spec: TenantModelSpec) -> Iterator[tuple[str, str]]:
    """Yield each rule that is broken, and what was seen."""
    if policy.user_ids is not None and not any(
        _pattern(each, namespace).fullmatch(spec.user_id) for each in policy.user_ids
    ):
        yield "userIds", f"{spec.user_id!r} matches none of {_listed(policy.user_ids, namespace)}"
    if policy.uris is not None:
        yield from _astray(policy.uris, namespace, spec)
    if policy.formats is not None and _format(spec) not in policy.formats:
        yield "formats", f"{_format(spec)!r} is none of {_listed(policy.formats, namespace)}"
    declared = (spec.model.method,) if isinstance(spec.model.method, str) else spec.model.method
    if policy.methods is not None and not set(declared) <= set(policy.methods):
        strange = ", ".join(method for method in declared if method not in policy.methods)
        yield "methods", f"{strange!r} is none of {_listed(policy.methods, namespace)}"
    if policy.isolation is not None and spec.isolation not in policy.isolation:
        yield "isolation", f"{spec.isolation!r} is none of {_listed(policy.isolation, namespace)}"
    if policy.max_replicas is not None and spec.replicas > policy.max_replicas:
        yield "maxReplicas", f"{spec.replicas} replicas are more than {policy.max_replicas}"
    for name, own, most in [] if policy.limits is None else spec.limits.beyond(policy.limits):
        yield "limits", f"{name} {own:,.15g} is more than {most:,.15g}"


def _astray(prefixes: Sequence[str], namespace: str, spec: TenantModelSpec) -> Iterator[tuple[str, str]]:
    """Yield each address, of the artifact or its card, that lies elsewhere."""
    for uri in [spec.model.uri] + ([spec.model.card.uri] if spec.model.card is not None else []):
        if _has_dots(uri):
            yield "uris", f"{uri!r} has . or .. as a part of its path"
        elif not uri.startswith(tuple(each.replace(NAMESPACE, namespace) for each in prefixes)):
            yield "uris", f"{uri!r} is below none of {_listed(prefixes, namespace)}"


@cache
def _pattern(text: str, namespace: str) -> re.Pattern[str]:
    """Return a pattern of user ids as a regular expression: * is any text, everything else itself."""
    parts = text.replace(NAMESPACE, namespace).split("*")
    return re.compile(".*".join(map(re.escape, parts)))


def _has_dots(uri: str) -> bool:
    """Return whether a file system or a store may take the path for another one."""
    return any(part in (".", "..") for part in uri.split("/"))


def _format(spec: TenantModelSpec) -> str:
    """Return the format that a spec names or that its suffix stands for; else the suffix."""
    name = spec.model.uri.rpartition("/")[2]
    suffix = f".{name.rpartition('.')[2]}".lower() if "." in name else ""
    return spec.model.format or _FORMAT_OF.get(suffix, suffix)


def _listed(entries: Sequence[str], namespace: str) -> str:
    shown = ", ".join(each.replace(NAMESPACE, namespace) for each in entries[:_SHOWN])
    more = len(entries) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
