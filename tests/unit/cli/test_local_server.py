"""What a local server answers with: what a folder of manifests and its policies say."""

from pathlib import Path

from tenantry import ModelId, TenantModel
from tenantry.stores.file_roots import ANYWHERE
from tenantry_cli.local_server import Declared, declared_in
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.settings import OperatorSettings
from tenantry_server.publishing import to_yaml
from tests.support.operator.rig import no_s3

POLICY = """
apiVersion: tenantry.dev/v1alpha1
kind: TenantPolicy
metadata: {name: signed}
spec:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shops}}
  signatures: required
"""


def test_a_policy_about_signatures_holds_for_a_local_server(tmp_path: Path) -> None:
    """Else `tenantry score --local` would run code that no server of the fleet runs."""
    manifests, policy = tmp_path / "tenants", tmp_path / "policy.yaml"
    manifests.mkdir()
    policy.write_text(POLICY)
    for user, namespace in (("ann", "shops"), ("bob", "others")):
        artifact = tmp_path / f"{user}.joblib"
        artifact.write_bytes(b"a model")
        model = {"uri": artifact.as_uri()}
        document = {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": user, "namespace": namespace},
            "spec": {"userId": user, "model": model},
        }
        (manifests / f"{user}.yaml").write_text(to_yaml(TenantModel.parse(document)))
    settings = OperatorSettings.load(policy_file=policy)
    users = Declared(declared_in(manifests, settings), Resolver(no_s3, ANYWHERE))
    demanded = {user: ModelId.parse(users.get_model_id_by_user_id(user)) for user in ("ann", "bob")}
    assert {user: exact.signatures for user, exact in demanded.items()} == {"ann": "required", "bob": None}
