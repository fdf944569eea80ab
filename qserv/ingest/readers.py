"""Reads Parquet and CSV files as record batches in the types of a table.

Whatever is wrong with a file ends in a `BadContribution` that names file, row (the
first data row is 1) and column where they apply.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final, NoReturn

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from qserv.catalog.tables import Table
from qserv.errors import BadContribution
from qserv.ingest.convert import Place, convert
from qserv.ingest.files import CSV
from qserv.wire.codec import arrow_schema

BATCH_ROWS: Final = 2**17
"""Rows that are read from Parquet at a time."""

_BLOCK: Final = 16 * 2**20
_ROW: Final = re.compile(r"Row #(\d+): ?")
_COLUMN: Final = re.compile(r"In CSV column #(\d+): ?")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a file, in the types and the order of the table's columns.

    Parameters
    ----------
    rows
        The rows.
    nulled
        How many NaN became NULL.
    """

    rows: pa.RecordBatch
    nulled: int


def read(table: Table, path: Path, *, stray: int | None = None) -> Iterator[Batch]:
    r"""Read a file as a stream of batches.

    Parameters
    ----------
    table
        The columns that the file must have, no more and no less, in any order.
    path
        A Parquet or CSV file. A CSV has a header; values that hold commas, quotes or
        newlines stand in quotes; an empty value or ``\N`` without quotes is NULL.
    stray
        Where a quote of a CSV is out of place (`qserv.ingest.files.fingerprint`).

    Raises
    ------
    BadContribution
        If anything is wrong with it.
    """
    if path.suffix.lower() in CSV:
        raw = _read_csv(table, path, stray)
    else:
        raw = _read_parquet(table, path)
    first = 1
    for batch in raw:
        yield _conform(table, batch, Place(path, first))
        first += batch.num_rows


def schema_of(path: Path) -> pa.Schema:
    """Return the columns that a file has; those of a CSV are guessed from its start.

    Raises
    ------
    BadContribution
        If it cannot be read.
    """
    if path.suffix.lower() in CSV:
        names = _header(path)
        try:
            with pyarrow.csv.open_csv(path, **_options(names, {})) as reader:
                return reader.schema
        except pa.ArrowInvalid as error:
            _explain(error, path, names)
    with _open_parquet(path) as file:
        return file.schema_arrow


def count(path: Path) -> int | None:
    """Return the rows of a file without reading them; None for a CSV.

    Raises
    ------
    BadContribution
        If it is no Parquet file.
    """
    if path.suffix.lower() in CSV:
        return None
    with _open_parquet(path) as file:
        return int(file.metadata.num_rows)


def _conform(table: Table, batch: pa.RecordBatch, place: Place) -> Batch:
    by_name = {name.lower(): i for i, name in enumerate(batch.schema.names)}
    arrays, nulled = [], 0
    for column in table.columns:
        array = batch.column(by_name[column.name.lower()])
        array, more = convert(array, column, place)
        arrays.append(array)
        nulled += more
    schema = arrow_schema(table.columns)
    return Batch(pa.RecordBatch.from_arrays(arrays, schema=schema), nulled)


def _check_names(table: Table, path: Path, names: Sequence[str]) -> None:
    counts = Counter(name.lower() for name in names)
    if twice := [name for name in names if counts[name.lower()] > 1]:
        raise BadContribution(f"{path}: column {twice[0]} stands there twice")
    if missing := [c.name for c in table.columns if c.name.lower() not in counts]:
        raise BadContribution(
            f"{path}: column {', '.join(missing)} of table {table.name} is missing; "
            f"the file has {', '.join(names)}"
        )
    if unknown := [name for name in names if table.find(name) is None]:
        raise BadContribution(
            f"{path}: column {', '.join(unknown)} is not in table {table.name}; "
            "leave it out of the file or add it to the schema"
        )


def _read_parquet(table: Table, path: Path) -> Iterator[pa.RecordBatch]:
    with _open_parquet(path) as file:
        _check_names(table, path, file.schema_arrow.names)
        done = 0
        try:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield batch
                done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise BadContribution(
                f"{path}: cannot be read beyond row {done}: {error}"
            ) from error


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise BadContribution(
            f"{path}: is not a whole Parquet file: {error}"
        ) from error


def _read_csv(table: Table, path: Path, stray: int | None) -> Iterator[pa.RecordBatch]:
    names = _header(path)
    _check_names(table, path, names)
    if stray is not None:
        _refuse_quote(path, stray)
    arrow = arrow_schema(table.columns)
    types = {name: arrow.field(table.column(name).name).type for name in names}
    try:
        with pyarrow.csv.open_csv(path, **_options(names, types)) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        _explain(error, path, names)


def _options(names: Sequence[str], types: dict[str, pa.DataType]) -> dict[str, object]:
    return {
        # Rows keep their numbers only if one thread reads them in order.
        "read_options": pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        "parse_options": pyarrow.csv.ParseOptions(
            newlines_in_values=True,
            # Of one column, an empty line is a row with NULL.
            ignore_empty_lines=len(names) > 1,
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types=types,
            null_values=["", "\\N"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    }


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            names = next(csv.reader(file), [])
    except (OSError, csv.Error) as error:
        raise BadContribution(f"{path}: cannot be read: {error}") from error
    if not names:
        raise BadContribution(f"{path}: is empty; its first line must name columns")
    return names


def _refuse_quote(path: Path, stray: int) -> NoReturn:
    with path.open("rb") as file:
        before = file.read(stray + 1).decode("utf-8-sig", errors="replace")
    rows = sum(1 for _ in csv.reader(StringIO(before, newline="")))
    raise BadContribution(
        f"{path}, row {rows - 1}: a quote opens and never closes, or stands inside a "
        "value; a quote in a value is written twice, and the value stands in quotes"
    )


def _explain(error: pa.ArrowInvalid, path: Path, names: Sequence[str]) -> NoReturn:
    text = str(error)
    row, column = _ROW.search(text), _COLUMN.search(text)
    where = f", row {int(row[1]) - 1}" if row else ""
    where += f", column {names[int(column[1])]}" if column else ""
    what = _COLUMN.sub("", _ROW.sub("", text))
    raise BadContribution(f"{path}{where}: {what}") from error
