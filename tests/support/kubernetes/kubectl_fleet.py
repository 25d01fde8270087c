"""A fleet on S3 whose tenants are declared by kubectl, as a person or a pipeline does."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
from examples.nycflights.aircraft import FEATURES, Aircraft

from tenantry import TenantModel
from tenantry_server import publish
from tenantry_server.publishing import to_yaml
from tests.support.kubernetes.home import Home
from tests.support.kubernetes.kubectl import Kubectl
from tests.support.kubernetes.status_history import StatusHistory
from tests.support.processes.up import Reply, ask
from tests.support.stores.s3 import S3Server
from tests.support.waiting import PATIENCE_S

TENANTS = 200


NAMESPACE = "fleet"


TENANT_MODELS = f"/apis/tenantry.dev/v1alpha1/namespaces/{NAMESPACE}/tenantmodels"


UNDER_WAY = ("Resolving", "Loading", "RollingOut", "NoServer")  # told where they last for two seconds


WAITERS = 8


@dataclass(repr=False)  # it holds a hundred thousand flights
class Fleet:
    """A cluster with an operator and two servers, and the person in front of it.

    Attributes:
        tenants: the two hundred.
        spare: aircraft that stand for nobody yet; a test takes what it needs.
    """

    home: Home
    kubectl: Kubectl
    s3: S3Server
    bucket: str
    servers: Sequence[str]
    tenants: Sequence[Aircraft]
    spare: Iterator[Aircraft]
    _models: dict[tuple[str, float], Any] = field(default_factory=dict)

    # What a training job does

    def publish(self, one: Aircraft, alpha: float = 1.0, **more: Any) -> TenantModel:
        """Train, store the artifact on S3, and declare it."""
        to = f"s3://{self.bucket}/models"
        return publish(
            self._trained(one, alpha), user_id=one.tail_number, to=to, namespace=NAMESPACE, **more
        )

    def _trained(self, one: Aircraft, alpha: float) -> Any:
        key = (one.tail_number, alpha)
        if key not in self._models:
            self._models[key] = one.train(alpha)
        return self._models[key]

    def artifact(self, one: Aircraft, alpha: float = 1.0) -> bytes:
        """The bytes that `publish` stores."""
        uri = self.publish(one, alpha).spec.model.uri
        key = uri.removeprefix(f"s3://{self.bucket}/")
        return self.s3.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, key: str, data: bytes) -> str:
        """Store an object, or overwrite it in place; its URI."""
        self.s3.client().put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"

    # What a person types

    def apply(self, declared: TenantModel) -> None:
        self.kubectl.ok("apply", "-f", "-", stdin=to_yaml(declared))

    def applied_and_ready(self, declared: TenantModel) -> dict[str, Any]:
        """Apply, `kubectl wait`, and what stands then."""
        self.apply(declared)
        return self.wait("Ready", declared.name)

    def wait(self, condition: str, *names: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """`kubectl wait`, which takes a condition of an older generation for none; the last one named."""
        waiting = ["wait", f"--for=condition={condition}", f"--timeout={timeout_s:g}s"]
        self.kubectl.ok(*waiting, "-n", NAMESPACE, "tm", *names)
        return self.get(names[-1])

    def wait_for_reason(self, reason: str, name: str) -> dict[str, Any]:
        path = '{.status.conditions[?(@.type=="Ready")].reason}'
        self.kubectl.ok(
            "wait",
            f"--for=jsonpath={path}={reason}",
            f"--timeout={PATIENCE_S:g}s",
            "-n",
            NAMESPACE,
            "tm",
            name,
        )
        return self.get(name)

    def get(self, name: str) -> dict[str, Any]:
        return dict(self.kubectl.json("get", "tm", name, "-n", NAMESPACE))

    def delete(self, name: str) -> None:
        self.kubectl.ok("delete", "tm", name, "-n", NAMESPACE)

    # What that cost

    def history(self) -> StatusHistory:
        """Of every status from now on."""
        return StatusHistory(self.home.plane, NAMESPACE)

    @contextmanager
    def one_write(self, name: str) -> Iterator[None]:
        """The block brings one change about, and waits for it: it costs one write of the status."""
        history = self.history()
        yield
        assert_one(history.reasons()[name])

    # What a client of the servers sees

    def ask(self, user_id: str, rows: list[dict[str, float]]) -> list[Reply]:
        """The same question to every server."""
        body = json.dumps(rows).encode()
        urls = [f"{url}/predict/{user_id}" for url in self.servers]
        return [ask(urllib.request.Request(url, data=body)) for url in urls]

    def assert_answers(self, one: Aircraft, alpha: float = 1.0) -> None:
        """Every server answers as scikit-learn does with this version."""
        rows = one.rows(3)
        own = self._trained(one, alpha).predict(pd.DataFrame(rows)[FEATURES])
        for reply in self.ask(one.tail_number, rows):
            assert reply.status == 200, reply.body
            assert reply.body == pytest.approx(own, rel=1e-9, abs=0.0)


def assert_one(told: list[str]) -> None:
    """One outcome; before it, and at most once each, what held it up for long."""
    assert [reason not in UNDER_WAY for reason in told].count(True) == 1, told
    assert told[-1] not in UNDER_WAY, told
    assert len(set(told)) == len(told), told
