"""`tenantry score`."""

from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tenantry.client.errors import ClientError
from tenantry.scoring import Options
from tenantry.settings import CommonSettings
from tenantry_cli import console, options
from tenantry_cli.scoring.job import Job, explained, report
from tenantry_cli.scoring.places import place

ROWS_FAILED = 3
"""Exit status where the table was scored and some rows have no prediction."""


@click.command("score")
@click.argument("table")
@click.option(
    "--out", required=True, help="Where to write: .parquet, .csv or .ndjson; a file or s3://BUCKET/KEY."
)
@click.option(
    "--user-column",
    default="user_id",
    show_default=True,
    help="The column that names the user of each row.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Send only this column beside the user's; may be repeated. [default: all columns]",
)
@click.option(
    "--text-column",
    "texts",
    multiple=True,
    metavar="NAME",
    help="A column of a .csv file that is text, as the user column is; may be repeated.",
)
@click.option(
    "--omit-missing",
    is_flag=True,
    help="Leave out of each row the columns that are missing in it, for users whose models have different "
    "columns. Otherwise they are missing values of a model's column.",
)
@click.option(
    "--url", "urls", multiple=True, help="Base URL of a server; may be repeated. [default: all live]"
)
@click.option("--local", is_flag=True, help="Score on this machine, without servers.")
@click.option(
    "--manifests",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="With --local: the folder whose manifests declare the models. [default: the registry says]",
)
@options.registry
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace what is at --out, and begin again where another run left off.",
)
@click.option(
    "--rows-per-request",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="At most.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Requests under way at once.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001, max=86_400),
    default=120.0,
    show_default=True,
    help="Seconds for one request to be answered.",
)
@click.option("--s3-endpoint-url", help="S3 server other than Amazon's. [TENANTRY_S3_ENDPOINT_URL]")
def command(  # noqa: PLR0913 - click passes each option by name
    table: str,
    out: str,
    user_column: str,
    columns: tuple[str, ...],
    texts: tuple[str, ...],
    urls: tuple[str, ...],
    manifests: Path | None,
    registry_url: str | None,
    s3_endpoint_url: str | None,
    *,
    omit_missing: bool,
    local: bool,
    overwrite: bool,
    **limits: Any,
) -> int:
    """Predict for every row of TABLE with the model of the row's user, and write the rows with predictions.

    TABLE is a .parquet, .csv or .ndjson file, or such an object in S3 (s3://BUCKET/KEY), of any length. The
    rows keep their order and their columns, and get three more: prediction, error and reason. A row without
    a prediction says why in these.

    Servers are asked in requests of many rows; with TENANTRY_API_KEY where they want a key. With --local, a
    server of the command's own loads the models that the registry, or the folder --manifests, declares. It
    ends with the command, and registers nowhere.

    What is scored is kept in OUT.parts until all of it is, and the same command goes on where it was
    interrupted. OUT appears whole, at the end.

    The exit status is 3 if OUT was written and some rows have no prediction, and 1 if it was not written.
    """
    if manifests is not None and not local:
        raise click.UsageError("--manifests is for --local, which was not given")
    if local and urls:
        raise click.UsageError("give either --url or --local")
    settings = options.settings(CommonSettings, registry_url=registry_url, s3_endpoint_url=s3_endpoint_url)
    source, target = (place(name, settings.s3_endpoint_url) for name in (table, out))
    declaring = str(manifests or settings.registry_url)
    whom: dict[str, Any] = {"local": declaring} if local else {"url": urls or _live(settings.registry_url)}
    chosen = Options(
        **whom, user_column=user_column, columns=columns or None, omit_missing=omit_missing, **limits
    )
    job = Job(source, target, chosen, texts=texts, overwrite=overwrite)
    if job.done_rows:
        console.say(f"going on after {job.done_rows:,} rows that are scored already")
    _run(job)
    failed = job.notes.failures.total
    report(job.notes, console.say)
    console.say(f"{job.done_rows:,} rows scored, {failed:,} of them without a prediction; wrote {out}")
    return ROWS_FAILED if failed else 0


def _live(registry_url: str) -> list[str]:
    """Return the addresses of all servers whose lease holds.

    Raises:
        click.ClickException: there is none.
    """
    from tenantry.registry import RegistryReader  # noqa: PLC0415 - with --url no registry is read
    from tenantry_cli.views import overview  # noqa: PLC0415 - as above

    with RegistryReader.of_existing(registry_url) as registry:
        found = [server.endpoint for server in overview.live_servers(registry)]
    if not found:
        raise click.ClickException(
            "no model server is running; start one, give --url, or score with --local"
        )
    return found


def _run(job: Job) -> None:
    """Score with a progress bar.

    Raises:
        click.ClickException: it stopped; says what is kept.
    """
    words = TextColumn("[progress.description]{task.description}")
    with Progress(
        words, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console.err
    ) as bar:
        task = bar.add_task("scoring", total=job.total, completed=job.done_rows)

        def scored(rows: int, failed: int) -> None:
            bar.update(task, completed=rows, description=f"scoring, {failed:,} failed")

        try:
            job.run(scored)
        except ClientError as error:
            raise click.ClickException(explained(error, job)) from None
