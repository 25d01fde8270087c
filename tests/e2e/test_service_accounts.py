"""Operator and servers as their ServiceAccounts, under exactly the roles of manifests/base.

Commands, environment and roles are those of the manifests. Only addresses differ, as nothing here
resolves the names of pods.
"""

import json
import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product, starmap
from typing import Any, NamedTuple

import pytest

from tenantry_server.access.tokens import TokenRules, Tokens
from tests.support.databases.postgres import PostgresServer
from tests.support.kubernetes.binaries.envtest_assets import provide
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying import manifests
from tests.support.kubernetes.deploying.deployed import OPERATOR, SERVER, Deployed, token
from tests.support.kubernetes.deploying.manifests import NAMESPACE, Document, container_of
from tests.support.kubernetes.home import TENANT_MODELS, install_crd
from tests.support.processes.up import ask
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1800)  # the first run on a machine builds the API server

# Of the API server's own default roles, for every account: to look at its own rights.
EVERYBODYS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
HARMFUL = {"secrets", "pods/exec", "roles", "rolebindings", "serviceaccounts/token", "statefulsets/scale"}
# What a machine that stands still for seconds makes a process warn of, and says nothing of roles.
OF_A_PAUSE = {
    "the event loop was held",
    "peer is down",
    "registry lost",
    "registry lost; nothing changes until it is back",
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


class Right(NamedTuple):
    """To do `verb` to a resource; a subresource is `resource/subresource`."""

    group: str
    resource: str
    verb: str
    name: str = ""


# In the namespace of the deployment. A wider role has to be written here too.
RIGHTS = {
    OPERATOR: {
        Right("tenantry.dev", "tenantmodels", "get"),
        Right("tenantry.dev", "tenantmodels", "list"),
        Right("tenantry.dev", "tenantmodels", "watch"),
        Right("tenantry.dev", "tenantmodels/status", "patch"),
        Right("tenantry.dev", "tenantpolicies", "list"),
        Right("", "namespaces", "get", name="kube-system"),
        Right("", "namespaces", "list"),
        Right("coordination.k8s.io", "leases", "get", name=OPERATOR),
        Right("coordination.k8s.io", "leases", "update", name=OPERATOR),
        Right("coordination.k8s.io", "leases", "create"),
        Right("apps", "statefulsets", "get", name=SERVER),
    },
    SERVER: {
        Right("tenantry.dev", "tenantmodels", "list"),
        Right("tenantry.dev", "tenantmodels", "watch"),
    },
}


class Audited(Deployed):
    """The deployment, and what its accounts asked of the API server."""

    def requests(self, account: str) -> list[dict[str, Any]]:
        """Everything that an account asked so far, from the API server's audit log."""
        assert self.plane.audit_log is not None
        user = f"system:serviceaccount:{NAMESPACE}:{account}"
        lines = map(json.loads, self.plane.audit_log.read_text().splitlines())
        return [line for line in lines if line["user"]["username"] == user]

    def used(self, account: str) -> set[Right]:
        """The rights that its requests needed; discovery needs none."""
        return {_needed(line) for line in self.requests(account) if "objectRef" in line}


def _needed(request: dict[str, Any]) -> Right:
    about = request["objectRef"]
    resource = "/".join(about[part] for part in ("resource", "subresource") if part in about)
    by_name = resource in ("leases", "statefulsets", "namespaces") and request["verb"] != "create"
    name = about.get("name", "") if by_name else ""
    return Right(about.get("apiGroup", ""), resource, request["verb"], name)


@pytest.fixture(scope="module")
def deployed(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """On an API server of its own, as the audit log is to hold nobody else's requests."""
    with ControlPlane(provide(), audit=True) as plane:
        install_crd(plane)
        documents = manifests.rendered(manifests.BASE)
        home = Audited(plane, tmp_path_factory.mktemp("deployed"), postgres.database(), documents)
        try:
            home.restrict("few-replicas", maxReplicas=4)
            home.run_operator("operator-a")
            until(lambda: home.leads("operator-a"), "the first replica leads")
            home.run_operator("operator-b")
            home.run_server("tenantry-server-0")
            home.run_server("tenantry-server-1")
            until(lambda: len(home.servers()) == 2, "both servers live")
            yield home
        finally:
            home.stop()


@pytest.fixture(scope="module")
def lived(deployed: Audited) -> Audited:
    """After an apply, a takeover, a deletion that nobody saw, and a server that came back."""
    deployed.apply(deployed.publish("ann", 1.0))
    deployed.until("ann", "Ready")
    deployed.children["operator-a"].stop(grace_s=20)
    until(lambda: deployed.leads("operator-b"), "the other replica leads")
    deployed.apply(deployed.publish("ann", 2.0))
    deployed.apply(deployed.publish("bob", 1.0))
    deployed.until("ann", "Ready")
    deployed.until("bob", "Ready")
    deployed.children["tenantry-server-1"].stop(grace_s=20)  # a watch is in the audit log when it has ended
    deployed.children["operator-b"].stop(grace_s=20)
    deployed.delete("bob")
    deployed.run_server("tenantry-server-1")
    deployed.run_operator("operator-c")
    until(lambda: deployed.predict("bob", 1.0, "tenantry-server-0") is None, "bob is forgotten")
    until(lambda: len(deployed.servers()) == 2, "the server is back")
    return deployed


def test_a_tenant_model_becomes_ready_and_every_server_answers(lived: Audited) -> None:
    assert len(lived.servers()) == 2
    for server in lived.servers():
        assert lived.predict("ann", 4.0, server) == pytest.approx(8.0)
        assert lived.predict("bob", 4.0, server) is None


def test_what_the_probes_of_the_manifests_ask_is_answered(lived: Audited) -> None:
    """A replica that waits for the Lease is as healthy and ready as the one that has it."""
    lived.run_operator("operator-d")
    until(lambda: "waiting for the lease" in lived.log("operator-d"), "the standby waits")
    standby = urllib.request.Request(lived.probes("operator-d") + "/readyz")
    until(lambda: ask(standby).status == 200, "the standby has read the Lease")
    urls = {
        OPERATOR: [lived.probes("operator-c"), lived.probes("operator-d")],
        SERVER: lived.servers().values(),
    }
    for workload in manifests.workloads(lived.documents):
        container = container_of(workload)
        paths = {value["httpGet"]["path"] for key, value in container.items() if key.endswith("Probe")}
        assert paths == {"/healthz", "/readyz"}
        for url in urls[workload["metadata"]["name"]]:
            for path in [*paths, "/metrics"]:
                assert ask(urllib.request.Request(url + path)).status == 200, url + path


@pytest.mark.parametrize("account", RIGHTS)
def test_every_right_is_used_and_nothing_else_is_tried(lived: Audited, account: str) -> None:
    """In the whole of the audit log. Discovery is open to all."""
    until(lambda: lived.used(account) >= RIGHTS[account], "every right was used")
    assert lived.used(account) == RIGHTS[account]
    refused = [line for line in lived.requests(account) if line["responseStatus"]["code"] in (401, 403)]
    assert refused == []


def test_nobody_complains_of_what_the_roles_lack(lived: Audited) -> None:
    logs = [lived.log(name) for name in lived.children]
    lines = [json.loads(line) for log in logs for line in log.splitlines()]
    warnings = [line for line in lines if line["level"] not in ("debug", "info")]
    assert [line for line in warnings if line["event"] not in OF_A_PAUSE] == []


@pytest.mark.parametrize("account", RIGHTS)
def test_nothing_else_is_allowed(deployed: Audited, account: str) -> None:
    """By every rule that holds for the account in the namespace where its rights are widest."""
    found = _review(deployed, account, "SelfSubjectRulesReview", {"namespace": NAMESPACE})
    assert found["incomplete"] is False, found
    allowed = {right for rule in found["resourceRules"] for right in _granted(rule)}
    assert {right for right in allowed if right.resource not in EVERYBODYS} == RIGHTS[account]


def _granted(rule: dict[str, list[str]]) -> Iterator[Right]:
    names = rule.get("resourceNames", [""])
    yield from starmap(Right, product(rule["apiGroups"], rule["resources"], rule["verbs"], names))


@pytest.mark.parametrize("account", RIGHTS)
def test_what_would_do_most_harm_is_not_allowed(deployed: Audited, account: str) -> None:
    """Each verb on what gives away secrets or more rights, and on what the account has a right to."""
    harmful = {resource for resource in _resources(deployed.plane) if resource[1] in HARMFUL}
    assert {("", "secrets"), ("", "pods/exec"), ("apps", "statefulsets/scale")} < harmful
    names = ("", OPERATOR, SERVER, "another", "kube-system")
    asked = [Right(*resource, verb) for resource in harmful for verb in VERBS]
    asked += [
        Right(*right[:2], verb, name) for right in RIGHTS[account] for verb in VERBS for name in names
    ]
    asked += [
        Right("*", "*", "*"),
        Right("", "users", "impersonate"),
        Right("", "serviceaccounts", "impersonate"),
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda right: _may(deployed, account, right), asked)
    allowed = {right for right, yes in zip(asked, answers, strict=True) if yes}
    for_any_name = {right for right in RIGHTS[account] if not right.name}
    named = {Right(*right[:3], name=name) for right in for_any_name for name in names}
    assert allowed == RIGHTS[account] | named, "what is allowed for any name is allowed for each"


@pytest.mark.parametrize("account", RIGHTS)
def test_the_lease_of_another_namespace_is_nobodys(deployed: Audited, account: str) -> None:
    lease = Right("coordination.k8s.io", "leases", "update", name=OPERATOR)
    assert _may(deployed, account, lease) is (account == OPERATOR)
    assert not _may(deployed, account, lease, namespace="default")


def _resources(plane: ControlPlane) -> set[tuple[str, str]]:
    """Group and name of each, subresources included, in any of their versions."""
    groups = plane.request("GET", "/apis")[1]["groups"]
    versions = [("", "/api/v1")] + [
        (group["name"], f"/apis/{version['groupVersion']}")
        for group in groups
        for version in group["versions"]
    ]
    return {
        (group, resource["name"])
        for group, path in versions
        for resource in plane.request("GET", path)[1]["resources"]
    }


def _may(deployed: Audited, account: str, right: Right, namespace: str = NAMESPACE) -> bool:
    """What the API server says when the account asks about itself."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "namespace": namespace,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
        "name": right.name,
    }
    found = _review(deployed, account, "SelfSubjectAccessReview", {"resourceAttributes": attributes})
    return bool(found["allowed"])


def _review(deployed: Audited, account: str, kind: str, spec: Document) -> Document:
    """The answer when the account asks the API server about its own rights."""
    group = "authorization.k8s.io/v1"
    review = {"apiVersion": group, "kind": kind, "spec": spec}
    token = deployed.tokens[account]
    status, body = deployed.plane.request("POST", f"/apis/{group}/{kind.lower()}s", review, token=token)
    assert status == 201, body
    answer: Document = body["status"]
    return answer


LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
TO_BOTH = {
    "create a TenantModel": ("POST", TENANT_MODELS),
    "change a TenantModel": ("PUT", f"{TENANT_MODELS}/ann"),
    "patch a TenantModel": ("PATCH", f"{TENANT_MODELS}/ann"),
    "delete a TenantModel": ("DELETE", f"{TENANT_MODELS}/ann"),
    "delete all TenantModels": ("DELETE", TENANT_MODELS),
    "replace a status": ("PUT", f"{TENANT_MODELS}/ann/status"),
    "read the registry's URL": ("GET", f"{CORE}/secrets/tenantry-registry"),
    "list secrets": ("GET", f"{CORE}/secrets"),
    "loosen a policy": ("PATCH", "/apis/tenantry.dev/v1alpha1/tenantpolicies/few-replicas"),
    "relabel a namespace": ("PATCH", f"/api/v1/namespaces/{NAMESPACE}"),
    "list pods": ("GET", f"{CORE}/pods"),
    "post an event": ("POST", f"{CORE}/events"),
    "read another Lease": ("GET", f"{LEASES}/another"),
    "scale the servers": (
        "PATCH",
        f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{SERVER}/scale",
    ),
    "delete the Lease": ("DELETE", f"{LEASES}/{OPERATOR}"),
    "list CRDs": ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    "widen a role": ("PATCH", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{OPERATOR}"),
    "get a token": ("POST", f"{CORE}/serviceaccounts/{OPERATOR}/token"),
}
TO_SERVERS = {
    "list namespaces": ("GET", "/api/v1/namespaces"),
    "list policies": ("GET", "/apis/tenantry.dev/v1alpha1/tenantpolicies"),
    "read a TenantModel": ("GET", f"{TENANT_MODELS}/ann"),
    "write a status": ("PATCH", f"{TENANT_MODELS}/ann/status"),
    "read the Lease": ("GET", f"{LEASES}/{OPERATOR}"),
    "create a Lease": ("POST", LEASES),
    "read their own StatefulSet": (
        "GET",
        f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{SERVER}",
    ),
}


@pytest.mark.parametrize(
    ("account", "method", "path"),
    [(account, *TO_BOTH[what]) for account in RIGHTS for what in TO_BOTH]
    + [(SERVER, *TO_SERVERS[what]) for what in TO_SERVERS],
    ids=[f"{account}: {what}" for account in RIGHTS for what in TO_BOTH]
    + [f"{SERVER}: {what}" for what in TO_SERVERS],
)
def test_what_is_not_granted_is_refused(deployed: Audited, account: str, method: str, path: str) -> None:
    """403 comes before a look at the body, or whether the object exists."""
    body: Document | None = None if method in ("GET", "DELETE") else {}
    status, answer = deployed.plane.request(method, path, body, token=deployed.tokens[account])
    assert status == 403, answer


async def test_a_model_server_accepts_the_token_of_a_service_account(deployed: Audited) -> None:
    """With the keys that the API server publishes, for users that begin with the account's namespace."""
    status, jwks = deployed.plane.request("GET", "/openid/v1/jwks")
    assert status == 200
    document = jwks if isinstance(jwks, str) else json.dumps(jwks)
    rules = TokenRules(
        "https://kubernetes.default.svc.cluster.local",
        "tenantry",
        "",
        pattern=re.compile("system:serviceaccount:([a-z0-9-]+):[a-z0-9.-]+"),
        users=["${1}.*"],
    )
    tokens = Tokens(rules, lambda _: document.encode())
    grant = await tokens.verify(token(deployed.plane, SERVER, audiences=["tenantry"]))
    assert grant is not None
    assert grant.covers(f"{NAMESPACE}.ann")
    assert not grant.covers("other.ann")
    assert await tokens.verify(deployed.tokens[SERVER]) is None, "one for the API server itself"
