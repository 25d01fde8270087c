"""`tenantry validate`."""

import os
from pathlib import Path

import click

from tenantry.stores.file_roots import ANYWHERE, FileRoots
from tenantry_cli import console
from tenantry_cli.declaring import checking
from tenantry_operator.folder import policy_file as policies_in

_CONNECTIONS = 16


@click.command("validate")
@click.argument("manifests", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--offline", is_flag=True, help="Do not look at the artifacts.")
@click.option(
    "--policy-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="TENANTRY_POLICY_FILE",
    help="File of TenantPolicies that the TenantModels have to satisfy. [TENANTRY_POLICY_FILE]",
)
@click.option("--s3-endpoint-url", help="S3 server other than Amazon's. [TENANTRY_S3_ENDPOINT_URL]")
def command(
    manifests: tuple[Path, ...], policy_file: Path | None, s3_endpoint_url: str | None, *, offline: bool
) -> None:
    """Check files and folders of MANIFESTS as an operator would; store and change nothing.

    Each TenantModel is read by the operator's own code, whose rules are those of the CRD: a mistake is
    named with its file, line and field. No two documents may have one name or one user, each format needs a
    loader, and each policy of --policy-file has to permit it. Then artifacts and cards are looked up:
    whether they are there, and in a file also whether the bytes are the pinned ones. No model is loaded.
    What can't be reached from here is a note and no error. Files may lie anywhere, unless
    TENANTRY_FILE_ROOTS is set.

    The exit status is 1 if anything is wrong.
    """
    checked = checking.read(manifests)
    errors = checked.errors + list(checking.unreadable(checked.found))
    if policy_file is not None:
        errors += checking.denied(checked.found, policies_in.read(policy_file))
    notes = checked.notes
    if not offline:
        missing, unseen = _artifacts(s3_endpoint_url).look(checked.found)
        errors, notes = errors + missing, notes + unseen
    for note in notes:
        console.say(f"note: {note}")
    for error in errors:
        console.out.print(error, markup=False)
    if not checked.found and not errors:
        raise click.ClickException("no TenantModel was found; name a file or a folder of manifests")
    console.say(
        f"{len(checked.found)} TenantModels in {checked.files} files: "
        + (f"{len(errors)} errors" if errors else "nothing wrong")
    )
    if errors:
        raise click.exceptions.Exit(1)


def _artifacts(s3_endpoint_url: str | None) -> checking.Artifacts:
    from tenantry_operator.artifacts.s3 import S3Resolver  # noqa: PLC0415 - boto3 takes half a second

    url = s3_endpoint_url or os.environ.get("TENANTRY_S3_ENDPOINT_URL") or None
    roots = os.environ.get("TENANTRY_FILE_ROOTS")
    return checking.Artifacts(
        S3Resolver(url, connections=_CONNECTIONS).resolve,
        ANYWHERE if roots is None else FileRoots.parse(roots),
    )
