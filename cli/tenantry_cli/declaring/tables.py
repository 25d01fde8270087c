"""Tables of models for `tenantry publish --table`: read, published with a progress bar, and reported."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tenantry_cli import console

if TYPE_CHECKING:
    from tenantry import TenantModel
    from tenantry_server.signing.making import Signer

_NEEDED = ("user", "file")
_WORDS = {"name": "name", "namespace": "namespace", "format": "model_format", "method": "method"}
_KNOWN = (*_NEEDED, *_WORDS, "prewarm")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MOST_SHOWN = 20


def read(path: Path) -> list[dict[str, Any]]:
    """Read a table into items for `publish_many`; paths are relative to the table.

    Raises:
        click.ClickException: a column is missing, unknown or of another type, or a row lacks a value.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise click.ClickException(f"{path}: a table is a .csv or a .parquet file")
    try:
        columns, rows = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    except (OSError, ValueError, csv.Error) as error:
        raise click.ClickException(f"{path} can't be read as a table: {error}") from None
    missing = [name for name in _NEEDED if name not in columns]
    unknown = [name for name in columns if name not in _KNOWN]
    if missing or unknown:
        seen = f"missing {', '.join(missing)}" if missing else f"unknown {', '.join(map(str, unknown))}"
        raise click.ClickException(f"{path}: column {seen}; a table has {', '.join(_KNOWN)}")
    if not rows:
        raise click.ClickException(f"{path} has no rows")
    return [_item(path, number, row) for number, row in enumerate(rows)]


def _csv(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        rows = list(reader)
        for number, row in enumerate(rows):
            if "" in row or None in row.values():
                raise ValueError(f"row {number} has another number of values than the header has names")
        return list(reader.fieldnames or ()), rows


def _parquet(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        import pandas as pd  # noqa: PLC0415 - a CSV file needs no library

        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ValueError(
            f"Parquet needs pip install 'tenantry[arrow]' here ({error}); or write a .csv file"
        ) from None
    except Exception as error:  # pyarrow's own
        raise ValueError(f"it is damaged, or not Parquet: {error}") from None
    if "user" in frame and pd.api.types.is_numeric_dtype(frame["user"]):
        raise ValueError(
            f"column user holds numbers ({frame['user'].dtype}), where an id such as 0042 has lost its "
            "zeros; store it as text"
        )
    records: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), "").to_dict("records")  # type: ignore[assignment]
    return [str(name) for name in frame.columns], records


def _item(path: Path, number: int, row: dict[str, Any]) -> dict[str, Any]:
    values = {name: str(value).strip() for name, value in row.items()}
    for name in _NEEDED:
        if not values[name]:
            raise click.ClickException(f"{path}: row {number} has no {name}")
    item: dict[str, Any] = {"user_id": values["user"], "model": path.parent / values["file"], "spec": {}}
    item |= {field: values[name] for name, field in _WORDS.items() if values.get(name)}
    prewarm = values.get("prewarm", "").lower()
    if prewarm:
        if prewarm not in _TRUTH:
            raise click.ClickException(
                f"{path}: row {number}: prewarm must be true or false, got {prewarm!r}"
            )
        item["spec"] = {"prewarm": _TRUTH[prewarm]}
    return item


def publish(
    items: Sequence[dict[str, Any]],
    path: Path,
    to: str,
    manifests: Path,
    *,
    sign: "Signer | None" = None,
    s3_endpoint_url: str | None,
    check: bool,
) -> set[int]:
    """Publish every item, say what became of them, and return the numbers of those that failed."""
    from tenantry_server.publishing import Report, publish_many  # noqa: PLC0415 - seconds, as in `publish`

    words = TextColumn("[progress.description]{task.description}")
    with Progress(
        words, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console.err
    ) as bar:
        task = bar.add_task("publishing", total=len(items))

        def done(report: Report) -> None:
            count = len(report.published) + len(report.failed) + report.skipped
            bar.update(task, completed=count, description=f"publishing, {len(report.failed)} failed")

        report = publish_many(
            items,
            to=to,
            manifests=manifests,
            sign=sign,
            s3_endpoint_url=s3_endpoint_url,
            check=check,
            journal=path.with_name(f"{path.name}.published"),
            done=done,
        )
    console.say(
        f"{len(report.published)} published, {report.skipped} were before, {len(report.failed)} failed"
    )
    for failure in report.failed[:_MOST_SHOWN]:
        console.say(f"row {failure.number}, user {failure.user_id}: {failure.problem}")
    return {failure.number for failure in report.failed}


def not_published(failed: int, of: int) -> str:
    """Return the last line about a table."""
    more = failed - _MOST_SHOWN
    rest = f"; {more} more are not shown" if more > 0 else ""
    return f"{failed} of {of} were not published{rest}"


def declared(items: Sequence[dict[str, Any]], manifests: Path, failed: set[int]) -> list["TenantModel"]:
    """Return what the rows of a table declare now, also those that a run before this one published.

    Raises:
        click.ClickException: a manifest was changed or removed meanwhile.
    """
    import yaml  # noqa: PLC0415 - as above

    from tenantry import TenantModel, TenantryError  # noqa: PLC0415 - as above
    from tenantry_server.publishing import object_name  # noqa: PLC0415 - as above

    found: dict[Path, TenantModel] = {}
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for number, item in enumerate(items):
        path = manifests / f"{item.get('name') or object_name(item['user_id'])}.yaml"
        if number in failed or path in found:
            continue
        try:
            found[path] = TenantModel.parse(yaml.load(path.read_bytes(), loader))  # noqa: S506 - a safe one
        except (OSError, yaml.YAMLError, TenantryError) as error:
            raise click.ClickException(f"{path} can't be read after it was published: {error}") from None
    return list(found.values())
