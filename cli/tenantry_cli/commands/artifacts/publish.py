"""`tenantry publish`."""

from pathlib import Path
from typing import Any

import click

from tenantry.manifest.fields import METHODS
from tenantry_cli import console, signers
from tenantry_cli.declaring import afterwards, tables
from tenantry_cli.declaring.afterwards import Afterwards


@click.command("publish")
@click.argument("model_file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--user", "user_id", help="The user that the model is for (userId).")
@click.option(
    "--table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Publish every row: a .csv or .parquet file with the columns user and file.",
)
@click.option("--to", required=True, help="A folder, or s3://BUCKET/PREFIX. Other addresses are refused.")
@click.option(
    "--manifests",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that gets NAME.yaml. [default: the manifest is printed]",
)
@click.option("--name", help="Name of the TenantModel. [default: made from the userId]")
@click.option(
    "--namespace",
    help="Namespace of the TenantModel. [default: that of the manifest that is replaced, else default]",
)
@click.option("--format", "model_format", help="Format of the artifact. [default: by its suffix]")
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="Method to call; give it again for several answers in one. "
    "[default: that of the manifest that is replaced, else predict]",
)
@click.option(
    "--extra-columns",
    type=click.Choice(["refuse", "ignore"]),
    help="Columns of a request that the model does not take. [default: as it was, else refuse]",
)
@click.option(
    "--prewarm/--no-prewarm", default=None, help="Set spec.prewarm. [default: as it was, else no]"
)
@click.option(
    "--example",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows of the training data (.parquet, .csv or .json): writes the model's card from them.",
)
@signers.options
@click.option(
    "--check/--no-check",
    default=True,
    help="Load the model as a server would before it is stored, which runs code in it. [default: check]",
)
@click.option("--s3-endpoint-url", help="S3 server other than Amazon's. [TENANTRY_S3_ENDPOINT_URL]")
@afterwards.options
def command(  # noqa: PLR0913 - click passes each option by name
    model_file: Path | None,
    user_id: str | None,
    table: Path | None,
    to: str,
    manifests: Path | None,
    name: str | None,
    namespace: str | None,
    model_format: str | None,
    methods: tuple[str, ...],
    extra_columns: str | None,
    example: Path | None,
    sign_key: Path | None,
    sign_certificate: Path | None,
    sign_chain: tuple[Path, ...],
    s3_endpoint_url: str | None,
    *,
    prewarm: bool | None,
    check: bool,
    **after: Any,
) -> None:
    """Store MODEL_FILE, or every file of a table, and declare it for a user.

    MODEL_FILE may be the folder of an MLflow model or of a SavedModel.

    The artifact gets a name that never repeats, and the manifest pins its sha256. The manifest is printed,
    for `kubectl apply -f -`, or written to a folder that `tenantry up` follows. There it takes the place of
    NAME.yaml, and keeps what that said (labels, annotations, fields of the spec) unless an option says
    otherwise. With --example, requests are read as the types of these rows, and a server must answer them
    as the model does here before the version is Ready.

    With --apply, the manifest goes to a cluster. With --wait, the exit status is 0 when the new version is
    Ready, by the registry that `tenantry get` reads, or with --apply by the TenantModel's status. It is 3
    when the version is Stalled, and 4 when --timeout is over; the error has the operator's words.

    A table has a row for each model: user, file (relative to the table), and where they are wanted name,
    namespace, format, method and prewarm. What was published is noted in TABLE.published, so that the same
    command goes on where it was interrupted. The same in Python: `publish` and `publish_many`.
    """
    from tenantry_server.publishing import (  # noqa: PLC0415 - seconds, for which no help or error waits
        manifest_path,
        publish,
        read_example,
        to_yaml,
    )

    sign = signers.signer(sign_key, sign_certificate, sign_chain)
    if table is not None:
        of_one = (model_file, user_id, name, namespace, model_format, methods, extra_columns, example)
        if manifests is None or any(of_one):
            raise click.UsageError(
                "with --table give --to and --manifests; what differs stands in its columns"
            )
        how = {"sign": sign, "s3_endpoint_url": s3_endpoint_url, "check": check}
        _publish_table(table, to, manifests, prewarm, how, after)
        return
    if model_file is None or user_id is None:
        raise click.UsageError("give MODEL_FILE and --user, or --table")
    with Afterwards(manifests, **after) as then:
        declared = publish(
            model_file,
            user_id=user_id,
            to=to,
            manifests=manifests,
            name=name,
            namespace=namespace,
            model_format=model_format,
            method=methods or None,
            spec=_spec(prewarm, extra_columns),
            example=None if example is None else read_example(example),
            sign=sign,
            s3_endpoint_url=s3_endpoint_url,
            check=check,
        )
        if manifests is not None:
            console.say(f"declared in {manifest_path(declared, manifests)}")
        elif not then.applies:
            console.out.print(to_yaml(declared), end="", markup=False)
        console.say(f"published {declared.spec.model.uri}")
        then.act([declared])


def _publish_table(
    table: Path, to: str, manifests: Path, prewarm: bool | None, how: dict[str, Any], after: dict[str, Any]
) -> None:
    """Publish every row, and do afterwards what was asked with those that were published.

    Args:
        how: of `tables.publish`.
        after: of `Afterwards`.
    """
    prewarmed = {} if prewarm is None else {"prewarm": prewarm}
    items = [{**row, "spec": prewarmed | row["spec"]} for row in tables.read(table)]
    with Afterwards(manifests, **after) as then:
        failed = tables.publish(items, table, to, manifests, **how)
        if then.follows:
            then.act(tables.declared(items, manifests, failed))
    if failed:
        raise click.ClickException(tables.not_published(len(failed), len(items)))


def _spec(prewarm: bool | None, extra_columns: str | None) -> dict[str, Any]:
    """Return the fields that the options name."""
    spec: dict[str, Any] = {} if prewarm is None else {"prewarm": prewarm}
    return spec if extra_columns is None else spec | {"model": {"extraColumns": extra_columns}}
