"""What Argo CD shows for an object: the health check of examples/gitops/argocd, in Lua 5.1 as there."""

from functools import cache
from typing import Any

import lupa.lua51
import yaml

from tests.support.kubernetes.deploying.manifests import ROOT

GITOPS = ROOT / "examples" / "gitops"


def health(live: dict[str, Any]) -> tuple[str, str]:
    """Health and message of an object as the API server gives it."""
    found = _check()(live)
    return str(found["status"]), str(found["message"])


@cache
def _check() -> Any:
    settings = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())["data"]
    (script,) = settings.values()
    assert list(settings) == ["resource.customizations.health.tenantry.dev_TenantModel"]
    lua = lupa.lua51.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    check = lua.execute(f"return function(obj)\n{script}\nend")
    return lambda live: check(lua.table_from(live, recursive=True))
