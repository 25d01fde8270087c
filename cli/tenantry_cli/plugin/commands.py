"""`kubectl tenantry status | top | why | history | report`."""

import os
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from tenantry import __version__
from tenantry_cli import console
from tenantry_cli.main import run
from tenantry_cli.plugin import report as bundle
from tenantry_cli.plugin.kubectl import Kubectl
from tenantry_cli.views.fleet_top import ORDERS

_MOST = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kubectl tenantry")
@click.option("--context", help="Of the kubeconfig. [default: the current one]")
@click.option(
    "-n", "--namespace", default="tenantry", show_default=True, help="Where Tenantry itself runs."
)
@click.pass_context
def cli(ctx: click.Context, context: str | None, namespace: str) -> None:
    """See how Tenantry and its tenants are, with kubectl's own configuration and rights."""
    ctx.obj = Kubectl(context, namespace)


@cli.command()
@click.pass_obj
def status(kubectl: Kubectl) -> None:
    """Show how many tenants are Ready, why others are not, and the pods that serve them.

    The exit status is 1 where a TenantModel is Stalled or a pod is missing.
    """
    table = _table("WORKLOAD", "READY", "WANTED", "IMAGE")
    workloads = [*kubectl.own("deployments"), *kubectl.own("statefulsets")]
    missing = not workloads
    for workload in workloads:
        ready, wanted = workload.get("status", {}).get("readyReplicas", 0), workload["spec"]["replicas"]
        missing = missing or ready < wanted
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        table.add_row(_kind_and_name(workload), str(ready), str(wanted), image)
    if workloads:
        console.out.print(table)
    else:
        console.say(f"nothing of Tenantry runs in the namespace {kubectl.namespace}; name another with -n")
    tenants = kubectl.tenant_models()
    waiting = [each for each in tenants if _state(each) != "Ready"]
    if waiting:
        console.out.print()
        console.out.print(_reasons(waiting))
    stalled = sum(_state(each) == "Stalled" for each in waiting)
    more = f", {stalled} Stalled" if stalled else ""
    console.say(f"{len(tenants) - len(waiting)} of {len(tenants)} TenantModels Ready{more}")
    if missing or stalled:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("what", type=click.Choice(["tenants", "servers"]), default="tenants")
@click.option("--by", type=click.Choice(ORDERS), default="requests", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_obj
def top(kubectl: Kubectl, what: str, by: str, limit: int, output: str) -> None:
    """Show which tenants ask, fail, compute or fill memory most, or what each server holds.

    Runs `tenantry top` in a pod of the servers, or `tenantry get shards` in the operator's; --by and
    --limit are of tenants. Where the servers ask for API keys, an admin's key from TENANTRY_API_KEY here is
    handed to the pod on standard input.
    """
    if what == "servers":
        _in_pod(kubectl, "deployment/tenantry-operator", ["get", "shards", "-o", output])
        return
    key = os.environ.get("TENANTRY_API_KEY")
    asked = ["top", "--by", by, "--limit", str(limit), "-o", output, *(["--key-stdin"] if key else [])]
    _in_pod(kubectl, "statefulset/tenantry-server", asked, stdin=f"{key}\n" if key else "")


def _in_pod(kubectl: Kubectl, pod_of: str, asked: list[str], stdin: str = "") -> None:
    """Run a `tenantry` command in a pod, and show all that it says."""
    where = [*(["--stdin"] if stdin else []), "--namespace", kubectl.namespace, pod_of]
    done = kubectl.run("exec", *where, "--", "python", "-m", "tenantry_cli", *asked, stdin=stdin)
    click.echo(done.stdout, nl=False)
    click.echo(done.stderr, nl=False, err=True)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)


@cli.command()
@click.argument("user")
@click.pass_obj
def why(kubectl: Kubectl, user: str) -> None:
    """Say what answers for USER, and why not what was declared. The exit status is 1 if nothing does."""
    found = kubectl.tenant_models_of(user)
    for tenant in found:
        said = _condition(tenant, "Ready")
        rows = {
            "TenantModel": _full_name(tenant),
            "State": f"{_state(tenant)} {said.get('reason', '')}".strip(),
            "Message": said.get("message", "the operator has not read it yet"),
            "Declared": tenant["spec"]["model"]["uri"],
            "Answers": tenant.get("status", {}).get("modelId", "nothing"),
        }
        generation, seen = tenant["metadata"]["generation"], _observed(tenant)
        if seen != generation:
            rows["Waiting"] = f"the operator has decided about generation {seen}, not about {generation}"
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for title, value in rows.items():
            table.add_row(title, Text(value))
        console.out.print(table)
    if not any(each.get("status", {}).get("modelId") for each in found):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("user")
@click.pass_obj
def history(kubectl: Kubectl, user: str) -> None:
    """Show who wrote what of USER's TenantModel, and since when its conditions hold: newest last.

    Kubernetes keeps the latest write of each client, not all of them.
    """
    found = kubectl.tenant_models_of(user, "--show-managed-fields")
    for tenant in found:
        table = _table("WHEN", "WHO", "WHAT")
        for row in sorted(_events(tenant), key=itemgetter(0)):
            table.add_row(*row)
        console.out.print(Text(_full_name(tenant), style="bold"))
        console.out.print(table)


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="tenantry-report.tar.gz",
    show_default=True,
    help="The archive to write.",
)
@click.pass_obj
def report(kubectl: Kubectl, output: Path) -> None:
    """Pack what a maintainer needs: manifests, states and logs, without secrets.

    No Secret is read, and passwords in URLs, keys and tokens are blotted out of the rest. TenantModels are
    in it with their userIds and URIs: look before you send it.
    """
    files, problems = bundle.collected(kubectl)
    bundle.write(output, files)
    for problem in problems:
        console.say(f"left out: {problem}")
    console.say(f"{output}: {len(files)} files")


def _events(tenant: dict[str, Any]) -> list[tuple[str, str, str]]:
    metadata = tenant["metadata"]
    conditions = tenant.get("status", {}).get("conditions", [])
    return [
        (metadata["creationTimestamp"], "", "created"),
        *(
            (
                each.get("time", ""),
                each.get("manager", "?"),
                f"wrote {_written(each)} ({each['operation']})",
            )
            for each in metadata.get("managedFields", [])
        ),
        *(
            (each["lastTransitionTime"], "", f"{each['type']} is {each['status']}: {each['reason']}")
            for each in conditions
        ),
    ]


def _written(entry: dict[str, Any]) -> str:
    """Return what part of the object a client wrote."""
    fields = entry.get("fieldsV1", {})
    return "spec" if "f:spec" in fields else "status" if "f:status" in fields else "labels or annotations"


def _reasons(waiting: list[dict[str, Any]]) -> Table:
    """Make a table of the reasons, the most frequent first, with one tenant of each."""
    counted = Counter(_condition(each, "Ready").get("reason", "not seen yet") for each in waiting)
    first = {_condition(each, "Ready").get("reason", "not seen yet"): each for each in reversed(waiting)}
    table = _table("REASON", "COUNT", "SUCH AS")
    table.add_column("MESSAGE", overflow="fold", min_width=30)
    for reason, count in counted.most_common(_MOST):
        said = _condition(first[reason], "Ready").get("message", "")
        table.add_row(reason, str(count), _full_name(first[reason]), Text(said))
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    return table


def _state(tenant: dict[str, Any]) -> str:
    """Return the condition that is True about the newest generation: kstatus' rule."""
    if _observed(tenant) != tenant["metadata"]["generation"]:
        return "Reconciling"
    states = ("Ready", "Stalled")
    return next((s for s in states if _condition(tenant, s).get("status") == "True"), "Reconciling")


def _condition(tenant: dict[str, Any], kind: str) -> dict[str, str]:
    conditions = tenant.get("status", {}).get("conditions", [])
    return next((dict(each) for each in conditions if each["type"] == kind), {})


def _observed(tenant: dict[str, Any]) -> int:
    return int(tenant.get("status", {}).get("observedGeneration", -1))


def _full_name(tenant: dict[str, Any]) -> str:
    return f"{tenant['metadata']['namespace']}/{tenant['metadata']['name']}"


def _kind_and_name(workload: dict[str, Any]) -> str:
    return f"{workload['kind'].lower()}/{workload['metadata']['name']}"


def main() -> None:
    """Run `kubectl tenantry`."""
    run(cli, "kubectl tenantry")
