"""Parts of a scored table: each written whole, and put together to one file at the end."""

import io
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tenantry.scoring import frames
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import CSV, PARQUET, check_suffix, pyarrow

if TYPE_CHECKING:
    import pandas as pd


class Format(ABC):
    """How a table is written."""

    @abstractmethod
    def part(self, frame: "pd.DataFrame") -> bytes:
        """Return the bytes of one part.

        Raises:
            click.ClickException: the format has no place for what is in the table.
        """

    @abstractmethod
    def join(self, parts: Sequence[Place], out: Place) -> None:
        """Put the parts together, one after the other, in `out`, whole or not at all.

        Raises:
            OSError: that can't be done.
        """


def format_of(out: Place) -> Format:
    """Return the format that the suffix of a name says.

    Raises:
        click.ClickException: it says none, or a library is missing.
    """
    check_suffix(out)
    if out.suffix in PARQUET:
        return ParquetFormat(out.name)
    return CsvFormat(out.name) if out.suffix in CSV else LinesFormat()


class ParquetFormat(Format):
    """The parts are Parquet files, whose types may differ where one of them has no values of a column."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pa = pyarrow(name)

    def part(self, frame: "pd.DataFrame") -> bytes:
        """As `Format`."""
        pa = self._pa
        if frame["prediction"].dtype == object:
            frame = frame.assign(prediction=_one_type(frame["prediction"].tolist()))
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        except (pa.ArrowException, TypeError, ValueError) as error:
            words = "; ".join(str(each) for each in error.args)
            raise click.ClickException(
                f"{self._name}: a column holds values of several types, which Parquet has not "
                f"({words}); write .ndjson"
            ) from None
        for name in ("error", "reason"):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table.column(place).cast(pa.string()))
        sink = io.BytesIO()
        pa.parquet.write_table(table, sink)
        return sink.getvalue()

    def join(self, parts: Sequence[Place], out: Place) -> None:
        """As `Format`; a part becomes a row group."""
        pa = self._pa
        schemas = []
        for part in parts:
            with part.opened() as read:
                schemas.append(pa.parquet.read_schema(read))
        schema = self._schema(schemas)
        with out.writing() as file, pa.parquet.ParquetWriter(file, schema) as writer:
            for part in parts:
                with part.opened() as read:
                    table = pa.parquet.ParquetFile(read).read()
                writer.write_table(
                    pa.table([self._column(table, field) for field in schema], schema=schema)
                )

    def _schema(self, schemas: Sequence[Any]) -> Any:
        pa = self._pa
        kinds = {schema.field("prediction").type for schema in schemas} - {pa.null()}
        try:
            return pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            if len(kinds) < 2:
                raise click.ClickException(
                    f"{self._name}: a column has several types in this table ({error}); write .ndjson"
                ) from None
        texts = [
            schema.set(schema.get_field_index("prediction"), pa.field("prediction", pa.string()))
            for schema in schemas
        ]
        return pa.unify_schemas(texts, promote_options="permissive")

    def _column(self, table: Any, field: Any) -> Any:
        pa = self._pa
        if field.name not in table.column_names:
            return pa.nulls(table.num_rows, field.type)
        column = table.column(field.name)
        if field.name == "prediction" and field.type == pa.string() and column.type != pa.string():
            return pa.array(_texts(column.to_pylist()), pa.string())
        return column.cast(field.type)


def _one_type(values: Sequence[Any]) -> Sequence[Any]:
    """Return predictions as they are where they have one type, else each as JSON."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds == {int, float}:
        return values
    return _texts(values)


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [
        None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values
    ]


class CsvFormat(Format):
    """Each part has a header, of which the first one counts; predictions of several values are JSON."""

    def __init__(self, name: str) -> None:
        self._name = name

    def part(self, frame: "pd.DataFrame") -> bytes:
        """As `Format`."""
        nested = [name for name in frame.columns if frame[name].dtype == object or name == "prediction"]
        frame = frame.assign(**{name: _flat(frame[name].astype(object).tolist()) for name in nested})
        return frame.to_csv(index=False, lineterminator="\n").encode()

    def join(self, parts: Sequence[Place], out: Place) -> None:
        """As `Format`."""
        header = b""
        with out.writing() as file:
            for part in parts:
                with part.opened() as read:
                    line = read.readline()
                    if not header:
                        header = line
                        file.write(line)
                    elif line != header:
                        raise click.ClickException(
                            f"{self._name}: the columns of {part.name} differ from the first; write .ndjson"
                        )
                    shutil.copyfileobj(read, file)


def _flat(values: Sequence[Any]) -> list[Any]:
    return [
        json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value
        for value in (each.tolist() if hasattr(each, "tolist") else each for each in values)
    ]


class LinesFormat(Format):
    """NDJSON, with null for what is missing."""

    def part(self, frame: "pd.DataFrame") -> bytes:
        """As `Format`."""
        return frames.lines_body(frame)

    def join(self, parts: Sequence[Place], out: Place) -> None:
        """As `Format`."""
        with out.writing() as file:
            for part in parts:
                with part.opened() as read:
                    shutil.copyfileobj(read, file)
