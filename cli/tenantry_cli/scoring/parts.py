"""Parts of a scored table: each written as its rows come, and put together to one file at the end."""

import io
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING, Any

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
    def part(self, file: IO[bytes]) -> AbstractContextManager[Callable[[Rows], None]]:
        """Begin one part in `file`: yields what takes its rows, and ends it with the block.

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

    @contextmanager
    def part(self, file: IO[bytes]) -> Iterator[Callable[[Rows], None]]:
        """As `Format`; rows of another schema than those before them begin another stream."""
        pa = self._pa
        packed = pa.ipc.IpcWriteOptions(compression="lz4" if pa.Codec.is_available("lz4") else None)
        stream: Any = None
        schema: Any = None

        def write(some: Rows) -> None:
            nonlocal stream, schema
            if isinstance(some, ArrowRows):
                table = some.table.replace_schema_metadata(None)
            else:
                table = self._converted(some)
            if stream is None or not table.schema.equals(schema, check_metadata=True):
                if stream is not None:
                    stream.close()
                schema = table.schema
                stream = pa.ipc.new_stream(file, schema, options=packed)
            stream.write_table(table)

        yield write
        if stream is not None:
            stream.close()

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
        schema, as_json = self._schema([schema for part in parts for schema in self._schemas(part)])
        texts = [field.name for field in schema if not _is_number(pa, field.type)]
        with out.writing() as file, pa.parquet.ParquetWriter(file, schema, use_dictionary=texts) as writer:
            for part in parts:
                tables = []
                for table in self._streams(part):
                    columns = [self._column(table, field, as_json=as_json) for field in schema]
                    tables.append(pa.Table.from_arrays(columns, schema=schema))
                writer.write_table(pa.concat_tables(tables))

    def _schemas(self, part: Place) -> Iterator[Any]:
        """Yield the schema of each stream of a part; nothing else is decoded."""
        ipc = self._pa.ipc
        for file in _rest(part):
            messages = ipc.MessageReader.open_stream(file)
            yield ipc.read_schema(messages.read_next_message())
            for _ in messages:
                pass

    def _streams(self, part: Place) -> Iterator[Any]:
        """Yield the rows of each stream of a part as a table."""
        for file in _rest(part):
            with self._pa.ipc.open_stream(file) as stream:
                yield stream.read_all()

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


def _rest(part: Place) -> Iterator[IO[bytes]]:
    """Yield a part as a file, again and again, until all of it was read."""
    with part.opened() as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        while file.tell() < end:
            yield file


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

    @contextmanager
    def part(self, file: IO[bytes]) -> Iterator[Callable[[Rows], None]]:
        """As `Format`; rows wait for the end of the part, as a later one may bring a column."""
        some: list[Rows] = []
        yield some.append
        frame = _frame(some)
        nested = [name for name in frame.columns if frame[name].dtype == object or name == "prediction"]
        frame = frame.assign(**{name: _flat(frame[name].astype(object).tolist()) for name in nested})
        file.write(frame.to_csv(index=False, lineterminator="\n").encode())

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

    @contextmanager
    def part(self, file: IO[bytes]) -> Iterator[Callable[[Rows], None]]:
        """As `Format`."""

        def write(some: Rows) -> None:
            file.write(frames.lines_body(_frame([some])))

        yield write

    def join(self, parts: Sequence[Place], out: Place) -> None:
        """As `Format`."""
        with out.writing() as file:
            for part in parts:
                with part.opened() as read:
                    shutil.copyfileobj(read, file)
