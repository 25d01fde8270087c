"""A fleet that wants signed artifacts: what it says of others, and how it follows signatures and keys."""

from pathlib import Path

from sklearn.linear_model import Ridge

from tenantry.publishing import publish
from tests.support.processes import up as ups
from tests.support.stores.signers import make_key
from tests.support.waiting import until

POLICY = """
apiVersion: tenantry.dev/v1alpha1
kind: TenantPolicy
metadata: {name: signed}
spec:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shops}}
  signatures: required
"""


def fitted(slope: float) -> Ridge:
    return Ridge(alpha=1e-9).fit([[0.0], [1.0]], [0.0, slope])


def test_signatures_and_keys_are_followed(tmp_path: Path) -> None:
    """One start: unsigned, signed afterwards, by a stranger, who is trusted and then not any more."""
    keys, manifests, models = tmp_path / "keys", tmp_path / "tenants", tmp_path / "models"
    keys.mkdir()
    ours, theirs = make_key(tmp_path, "ours"), make_key(tmp_path, "theirs")
    (keys / "ours.pub").write_bytes(ours.public.read_bytes())
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)

    def published(user: str, slope: float, namespace: str = "shops", key: Path | None = None) -> str:
        declared = publish(
            fitted(slope), user_id=user, to=models, manifests=manifests, namespace=namespace, sign=key
        )
        return declared.spec.model.uri

    uri = published("ann", 2.0)
    published("bob", 3.0, namespace="others")
    env = {
        "OMP_NUM_THREADS": "1",
        "TENANTRY_POLICY_FILE": str(policy),
        "TENANTRY_SIGNATURE_KEYS": str(keys),
    }
    with ups.running(manifests, tmp_path / "state", servers=1, env=env) as up:
        assert "has to be signed" in up.until_settled("ann", "SignatureMissing")["message"]
        up.until_settled("bob", "Ready")
        assert "tenantry sign" in up.tenantry("get", "ann", "--registry", up.registry_url).stdout
        assert up.predict("ann", {"instances": [[1.0]]}).status == 503

        done = up.tenantry("sign", uri, "--key", str(ours.private))
        assert done.returncode == 0, done.stderr
        first = up.until_settled("ann", "Ready")
        assert "signatures=required" in first["modelId"]

        published("ann", 4.0, key=theirs.private)
        refused = up.until_settled("ann", "SignatureUntrusted", after=first["generation"])
        assert refused["modelId"] == first["modelId"], "the last good version goes on serving"
        assert round(up.instance("ann", 1.0) or 0.0) == 2

        (keys / "theirs.pub").write_bytes(theirs.public.read_bytes())
        up.until_settled("ann", "Ready", after=first["generation"])
        assert round(up.instance("ann", 1.0) or 0.0) == 4

        (keys / "theirs.pub").unlink()
        until(lambda: up.predict("ann", {"instances": [[1.0]]}).status == 503, "a revoked key")
        told = up.until_settled("ann", "Degraded", after=first["generation"])
        assert "SignatureUntrusted" in told["message"], told
        assert round(up.instance("bob", 1.0) or 0.0) == 3

        (keys / "theirs.pub").write_bytes(theirs.public.read_bytes())
        up.until_settled("ann", "Ready", after=first["generation"])
