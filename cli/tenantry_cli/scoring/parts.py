"""Parts of a scored table: each written whole, and put together to one file at the end."""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tenantry.scoring import frames
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry_cli.scoring.places import Place
from tenantry_cli.scoring.table import CSV, PARQUET, Rows, check_suffix, pyarrow

if TYPE_CHECKING:
    import pandas as pd


class Format(ABC):
    """How a table is written.

    Attributes:
        part_suffix: of the name of a part.
    """

    part_suffix: str

    @abstractmethod
    def part(self, some: Sequence[Rows]) -> bytes:
        """Return the bytes of one part: these rows, one after the other.

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


def _frame(some: Sequence[Rows]) -> "pd.DataFrame":
    """Return rows as one DataFrame; predictions of different types stay what they are."""
    import pandas as pd  # noqa: PLC0415 - Arrow's own rows need none

    parts = [each.frame() if isinstance(each, ArrowRows) else each for each in some]
    if len({str(part["prediction"].dtype) for part in parts}) > 1:
        parts = [part.assign(prediction=part["prediction"].astype(object)) for part in parts]
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


class ParquetFormat(Format):
    """The parts are Arrow IPC streams, whose types may differ where one of them has no values of a column.

    So rows that come as Arrow go into a part as they are, and are encoded as Parquet once, at the end.
    """

    part_suffix = ".arrow"

    def __init__(self, name: str) -> None:
        self._name = name
        self._pa = pyarrow(name)

    def part(self, some: Sequence[Rows]) -> bytes:
        """As `Format`."""
        pa = self._pa
        table = self._as_they_are(some)
        if table is None:
            table = self._converted(_frame(some))
        sink = pa.BufferOutputStream()
        packed = pa.ipc.IpcWriteOptions(compression="lz4" if pa.Codec.is_available("lz4") else None)
        with pa.ipc.new_stream(sink, table.schema, options=packed) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def _as_they_are(self, some: Sequence[Rows]) -> Any:
        """Return rows of Arrow as one table; None: some are not, or they differ in type."""
        pa = self._pa
        tables = [each.table.replace_schema_metadata(None) for each in some if isinstance(each, ArrowRows)]
        if len(tables) < len(some) or any(table.schema != tables[0].schema for table in tables):
            return None
        return pa.concat_tables(tables)

    def _converted(self, frame: "pd.DataFrame") -> Any:
        pa = self._pa
        values = frame["prediction"].tolist() if frame["prediction"].dtype == object else []
        is_json = not _have_one_type(values)
        if is_json:
            texts: Sequence[Any] = _texts(values)
            frame = frame.assign(prediction=texts)
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        except (pa.ArrowException, TypeError, ValueError) as error:
            words = "; ".join(str(each) for each in error.args)
            raise click.ClickException(
                f"{self._name}: a column holds values of several types, which Parquet can't store "
                f"({words}); write .ndjson"
            ) from None
        for name in ("error", "reason"):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table.column(place).cast(pa.string()))
        if is_json:
            place = table.schema.get_field_index("prediction")
            field = pa.field("prediction", pa.string(), metadata=_JSON)
            table = table.set_column(place, field, table.column(place).cast(pa.string()))
        return table

    def join(self, parts: Sequence[Place], out: Place) -> None:
        """As `Format`; a part becomes a row group."""
        pa = self._pa
        schemas = []
        for part in parts:
            with part.opened() as read, pa.ipc.open_stream(read) as stream:
                schemas.append(stream.schema)
        schema, as_json = self._schema(schemas)
        texts = [field.name for field in schema if not _is_number(pa, field.type)]
        with out.writing() as file, pa.parquet.ParquetWriter(file, schema, use_dictionary=texts) as writer:
            for part in parts:
                with part.opened() as read, pa.ipc.open_stream(read) as stream:
                    table = stream.read_all()
                columns = [self._column(table, field, as_json=as_json) for field in schema]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def _schema(self, schemas: Sequence[Any]) -> tuple[Any, bool]:
        """Return the schema of all parts, and whether it has each prediction as JSON."""
        pa = self._pa
        if not any(_is_json(schema) for schema in schemas):
            try:
                return pa.unify_schemas(schemas, promote_options="permissive"), False
            except pa.ArrowException as error:
                if len({schema.field("prediction").type for schema in schemas} - {pa.null()}) < 2:
                    raise click.ClickException(
                        f"{self._name}: a column has several types in this table ({error}); write .ndjson"
                    ) from None
        texts = [
            schema.set(schema.get_field_index("prediction"), pa.field("prediction", pa.string()))
            for schema in schemas
        ]
        return pa.unify_schemas(texts, promote_options="permissive"), True

    def _column(self, table: Any, field: Any, *, as_json: bool) -> Any:
        pa = self._pa
        if field.name not in table.column_names:
            return pa.nulls(table.num_rows, field.type)
        column = table.column(field.name)
        if field.name == "prediction" and as_json and not _is_json(table.schema):
            return pa.array(_texts(column.to_pylist()), pa.string())
        return column.cast(field.type)


_JSON = {b"tenantry": b"json"}
"""Marks the predictions of a part that has each as JSON."""


def _is_json(schema: Any) -> bool:
    return bool(schema.field("prediction").metadata == _JSON)


def _is_number(pa: Any, kind: Any) -> bool:
    """Return whether a dictionary of a column's values is of no use: it is tried, and given up again."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _have_one_type(values: Sequence[Any]) -> bool:
    kinds = {type(value) for value in values if value is not None}
    return len(kinds) < 2 or kinds == {int, float}


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [
        None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values
    ]


class CsvFormat(Format):
    """Each part has a header, of which the first one counts; predictions of several values are JSON."""

    part_suffix = ".csv"

    def __init__(self, name: str) -> None:
        self._name = name

    def part(self, some: Sequence[Rows]) -> bytes:
        """As `Format`."""
        frame = _frame(some)
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

    part_suffix = ".ndjson"

    def part(self, some: Sequence[Rows]) -> bytes:
        """As `Format`."""
        return frames.lines_body(_frame(some))

    def join(self, parts: Sequence[Place], out: Place) -> None:
        """As `Format`."""
        with out.writing() as file:
            for part in parts:
                with part.opened() as read:
                    shutil.copyfileobj(read, file)
