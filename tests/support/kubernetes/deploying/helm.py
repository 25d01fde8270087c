"""Charts as helm renders and installs them: its own Go code, from an environment apart (helm-python-sdk).

Owns: the process that does so, and what it was asked before.
Refuses: judging what comes of it; that is the tests'.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support import environments
from tests.support.kubernetes.deploying.manifests import NAMESPACE, ROOT, Document

CHART, CRDS_CHART, SIDECAR_CHART = (
    ROOT / "charts" / name for name in ("tenantry", "tenantry-crds", "tenantry-sidecar")
)
RELEASE = "tenantry"
_TIMEOUT_S = 300
# One action in JSON on standard input; {"answer": …} or {"error": …} on standard output.
_PROCESS = """
import json, sys
import helm_python as helm

def render(chart, values, name, namespace, **_):
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        return loaded.render(values, name=name, namespace=namespace)

def lint(chart, values, **_):
    return helm.lint(chart, values, strict=True)

def package(chart, folder, **_):
    return helm.package(chart, destination=folder)

def release(action, chart, values, name, namespace, kubeconfig):
    with helm.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
        if action == "uninstall":
            return config.uninstall(name)
        if action == "test":
            return config.test(name, timeout=240)
        return getattr(config, action)(chart, name, values, namespace=namespace)

asked = json.load(sys.stdin)
do = {"render": render, "lint": lint, "package": package}.get(asked["action"], release)
if do is not release:
    del asked["action"]
try:
    print(json.dumps({"answer": do(**asked)}))
except helm.HelmError as error:
    print(json.dumps({"error": str(error)}))
"""


class HelmRefused(Exception):
    """Helm refused, in its own words."""


def manifests(
    values: Mapping[str, Any] | None = None, *, name: str = RELEASE, namespace: str = NAMESPACE
) -> list[Document]:
    """Every document that the chart `tenantry` makes of these values, as `helm template` prints them.

    Raises:
        HelmRefused: the values break the schema, or a template fails.
    """
    return of_chart(CHART, values, name=name, namespace=namespace)


def of_chart(
    chart: Path, values: Mapping[str, Any] | None = None, *, name: str, namespace: str
) -> list[Document]:
    """The same of any chart, whose dependencies are in its folder `charts`."""
    texts = _rendered(str(chart), json.dumps(values or {}), name, namespace)
    return [
        document
        for path, text in texts.items()
        if not path.endswith(".txt")
        for document in yaml.load_all(text, yaml.CSafeLoader)
        if document is not None
    ]


def notes(values: Mapping[str, Any] | None = None) -> str:
    """What helm prints after an installation."""
    texts = _rendered(str(CHART), json.dumps(values or {}), RELEASE, NAMESPACE)
    return texts[f"{CHART.name}/templates/NOTES.txt"]


def lint(chart: Path, values: Mapping[str, Any] | None = None) -> list[str]:
    """What `helm lint --strict` has against a chart, without advice."""
    found = _ask(action="lint", chart=str(chart), values=dict(values or {}))
    advice = 1
    return [f"{each['path']}: {each['error']}" for each in found["messages"] if each["severity"] > advice]


def package(chart: Path, folder: Path) -> Path:
    """The chart as an archive in `folder`."""
    return Path(_ask(action="package", chart=str(chart), folder=str(folder)))


def release(
    action: str,
    chart: Path,
    kubeconfig: Path,
    values: Mapping[str, Any] | None = None,
    *,
    namespace: str = NAMESPACE,
) -> Any:
    """`helm install`, `upgrade`, `test` or `uninstall`, under the name of the chart's folder.

    Raises:
        HelmRefused: helm or the API server refused, or a test failed.
    """
    return _ask(
        action=action,
        chart=str(chart),
        values=dict(values or {}),
        name=chart.name,
        namespace=namespace,
        kubeconfig=str(kubeconfig),
    )


def for_any_version(chart: Path, folder: Path) -> Path:
    """A copy of a chart that an API server of any version takes.

    That of the tests may be older than what the chart allows, and helm asks it for its schemas before it
    sends anything. So the copy of a CRD has neither rules in CEL nor selectable fields.
    """
    copy = folder / chart.name
    shutil.copytree(chart, copy)
    lines = (copy / "Chart.yaml").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("kubeVersion:")]
    assert len(kept) == len(lines) - 1
    (copy / "Chart.yaml").write_text("".join(kept))
    for template in (copy / "templates").glob("*.yaml"):
        if "kind: CustomResourceDefinition" in template.read_text():
            document = _without(
                yaml.load(template.read_text(), yaml.CSafeLoader),
                {"x-kubernetes-validations", "selectableFields"},
            )
            template.write_text(yaml.safe_dump(document))
    return copy


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, names) for key, each in value.items() if key not in names}
    if isinstance(value, list):
        return [_without(each, names) for each in value]
    return value


@cache
def _rendered(chart: str, values: str, name: str, namespace: str) -> dict[str, str]:
    answer = _ask(action="render", chart=chart, values=json.loads(values), name=name, namespace=namespace)
    return dict(answer)


def _ask(**asked: Any) -> Any:
    python = environments.environment("helm", "helm-python-sdk==0.2.2")
    done = subprocess.run(
        [python, "-c", _PROCESS],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise HelmRefused(answer["error"])
    return answer["answer"]
