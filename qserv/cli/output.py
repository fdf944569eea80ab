"""Rows as a table for people, CSV, Parquet or JSON, written as they stream in."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import pyarrow as pa

from qserv.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from qserv.client.result import Result

SHOWN_ROWS: Final = 200
"""Rows that a table for people shows; the rest is counted."""
WIDTH: Final = 1000
"""Columns that a table for people may take, however narrow the terminal is."""


def write(result: "Result", style: str, file: IO[bytes]) -> None:
    """Write the rows of a result.

    Parameters
    ----------
    result
        Streamed; only the table for people keeps its first rows in memory.
    style
        ``table``, ``csv``, ``parquet`` or ``json``.
    file
        Open for bytes.
    """
    match style:
        case "csv":
            _write_csv(result, file)
        case "parquet":
            _write_parquet(result, file)
        case "json":
            _write_json(result, file)
        case _:
            _write_table(result, file)
    file.flush()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears only when everything was written to it.

    Parameters
    ----------
    path
        Where it appears; what was there before stays until then.

    Raises
    ------
    InvalidRequest
        If it cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with new.open("wb") as file:
            yield file
        new.replace(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidRequest(f"cannot write {path}: {why}") from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _write_csv(result: "Result", file: IO[bytes]) -> None:
    from pyarrow import csv

    with csv.CSVWriter(file, result.schema) as writer:
        for batch in result:
            writer.write_batch(batch)


def _write_parquet(result: "Result", file: IO[bytes]) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(file, result.schema) as writer:
        for batch in result:
            writer.write_batch(batch)


def _write_json(result: "Result", file: IO[bytes]) -> None:
    rows = chain.from_iterable(_short(batch).to_pylist() for batch in result)
    file.write(b"[")
    for number, row in enumerate(rows):
        text = json.dumps(row, default=str, ensure_ascii=False)
        file.write(f"{',' if number else ''}\n  {text}".encode())
    file.write(b"\n]\n")


def _short(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return single precision as the doubles of fewest digits: 130.22, as in CSV."""
    import pyarrow.compute as pc

    columns = [
        pc.cast(pc.cast(column, pa.string()), pa.float64())
        if pa.types.is_float32(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _write_table(result: "Result", file: IO[bytes]) -> None:
    from rich.console import Console

    shown: list[pa.RecordBatch] = []
    kept = 0
    for batch in result:
        if kept < SHOWN_ROWS:
            shown.append(batch.slice(0, SHOWN_ROWS - kept))
            kept += shown[-1].num_rows
    # Never folded: a number that goes on in the next line cannot be read.
    console = Console(width=WIDTH)
    with console.capture() as capture:
        console.print(rich_table(pa.Table.from_batches(shown, schema=result.schema)))
    file.write(capture.get().encode())
    if result.rows > kept:
        file.write(
            f"… and {counted(result.rows - kept)} more: csv, parquet and json keep all"
            "\n".encode()
        )


def counted(rows: int) -> str:
    """Return a number of rows in words."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


def touched(result: "Result") -> str:
    """Return how many chunks a query touches of how many, for people."""
    if not result.chunks_total:
        return "no chunk"
    return f"{result.chunks:,} of {result.chunks_total:,} chunks"


def rich_table(rows: pa.Table) -> "Table":
    """Return rows as a table for people: units in the heads, numbers to the right.

    Parameters
    ----------
    rows
        Few enough to be looked at.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    units = [(field.metadata or {}).get(b"unit", b"").decode() for field in rows.schema]
    for field, unit in zip(rows.schema, units, strict=True):
        right = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        below = ("\n", (unit, "dim")) if any(units) else ()
        table.add_column(
            Text.assemble(field.name, *below),
            justify="right" if right else "left",
            overflow="fold",
        )
    columns = [
        [_cell(value, field.type) for value in column.to_pylist()]
        for column, field in zip(rows.columns, rows.schema, strict=True)
    ]
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    return table


def _cell(value: Any, datatype: pa.DataType) -> "Text":
    from rich.text import Text  # not str, in which rich sees markup and emoji

    if value is None:
        return Text("NULL", "dim")
    if pa.types.is_float32(datatype):
        return Text(f"{value:.7g}")
    if pa.types.is_float64(datatype):
        return Text(f"{value:.12g}")
    return Text(str(value))
