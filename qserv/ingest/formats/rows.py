"""What readers give: pieces to read, batches of rows, rows that cannot be taken."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.catalog.tables import Table
from qserv.errors import BadContribution
from qserv.ingest.formats.values import Converted, convert
from qserv.ingest.inputs import InputFile, ReadOptions
from qserv.wire.codec import arrow_schema

BATCH_ROWS: Final = 2**17
"""Rows that a batch has at most."""
BATCH_BYTES: Final = 64 * 2**20
"""Bytes that a batch has, about, at most."""

_SHOWN: Final = 80

Numbers = npt.NDArray[np.int64]
"""Numbers of rows in their file, from 1."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What can be read by itself.

    Parameters
    ----------
    table
        The columns that are wanted.
    file
        Where they are.
    options
        What the file does not say about itself.
    first
        Number of its first row in the file; that of the file's first is 1.
    rows
        Its rows; None where only reading tells.
    size
        Its bytes: where the format tells, unpacked, else as they are stored.
    groups
        The row groups of a Parquet file.
    """

    table: Table
    file: InputFile
    options: ReadOptions
    first: int
    rows: int | None
    size: int
    groups: tuple[int, ...] = ()

    def wrong(self, what: str, *, row: int = 0, column: str = "") -> BadContribution:
        """Return the error for what makes the whole file unreadable."""
        where = f", row {row}" if row else ""
        where += f", column {column}" if column else ""
        return BadContribution(f"{self.file.name}{where}: {what}")


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be taken.

    Parameters
    ----------
    row
        Its number in the file, from 1.
    column
        The first column that is at fault; empty where the row as a whole is.
    value
        What stands there, shortened.
    reason
        Why it cannot be taken.
    """

    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a file, in the types and the order of the table's columns.

    Parameters
    ----------
    rows
        The rows that can be taken.
    numbers
        Their numbers in the file, rising.
    rejects
        The rows between them that cannot, rising.
    nulled
        How many NaN became NULL.
    """

    rows: pa.RecordBatch
    numbers: Numbers
    rejects: tuple[Reject, ...]
    nulled: int


def conform(
    piece: Piece,
    raw: pa.RecordBatch,
    numbers: Numbers,
    *,
    texts: bool = False,
    rejects: Sequence[Reject] = (),
) -> Batch:
    """Turn rows as they were read into those of the table.

    Parameters
    ----------
    piece
        Where they come from.
    raw
        All columns of the table, in any order and spelling, and maybe others.
    numbers
        The rows' numbers in the file.
    texts
        Whether numbers, truths and times may be written as texts.
    rejects
        Rows that were left out before.

    Raises
    ------
    BadContribution
        If a column has a type that the table's cannot be made of.
    """
    at = {name.lower(): i for i, name in enumerate(raw.schema.names)}
    converted = [
        _converted(piece, raw.column(at[column.name.lower()]), i, texts)
        for i, column in enumerate(piece.table.columns)
    ]
    if any(column.bad is not None for column in converted):
        told, good = _rejected(piece, raw, at, numbers, converted)
        kept = raw.filter(pa.array(good))
        clean = conform(piece, kept, numbers[good], texts=texts)
        rejects = sorted([*rejects, *told], key=lambda reject: reject.row)
        return replace(clean, rejects=tuple(rejects))
    rows = pa.RecordBatch.from_arrays(
        [column.array for column in converted],
        schema=arrow_schema(piece.table.columns),
    )
    nulled = sum(column.nulled for column in converted)
    return Batch(rows, numbers, tuple(rejects), nulled)


def numbered(first: int, rows: int) -> Numbers:
    """Return the numbers of rows that follow each other."""
    return np.arange(first, first + rows, dtype=np.int64)


def shown(value: Any) -> str:
    """Return a value for people, on one line and not too long."""
    text = "NULL" if value is None else " ".join(str(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def wanted(piece: Piece, names: Sequence[str]) -> dict[int, str]:
    """Return where the table's columns stand among those of the file, and their names.

    Parameters
    ----------
    piece
        What is read.
    names
        The file's columns in their order.

    Raises
    ------
    BadContribution
        If one is missing, unknown or there twice.
    """
    kept = piece.options.kept(names)
    counts = Counter(name.lower() for name in kept.values())
    missing = [c.name for c in piece.table.columns if c.name.lower() not in counts]
    if missing:
        _refuse_missing(piece, missing, names)
    table = piece.table.name
    if unknown := [name for name in kept.values() if piece.table.find(name) is None]:
        raise piece.wrong(
            f"column {_some(unknown)} is not in table {table}; name it under "
            "`ignore:` in the sidecar, or add it to the schema (to a table that is "
            "live: qserv table add-column)"
        )
    if twice := [name for name in kept.values() if counts[name.lower()] > 1]:
        raise piece.wrong(
            f"column {twice[0]} is there twice ({' and '.join(twice[:2])}; case does "
            "not count); rename one of them, or leave it out"
        )
    return kept


def _refuse_missing(
    piece: Piece, missing: Sequence[str], names: Sequence[str]
) -> NoReturn:
    out = {name.lower() for name in piece.options.ignore}
    if ignored := [name for name in missing if name.lower() in out]:
        raise piece.wrong(
            f"column {_some(ignored)} is to be ignored, but table {piece.table.name} "
            "has it"
        )
    raise piece.wrong(
        f"column {_some(missing)} of table {piece.table.name} is missing; "
        f"the file has {_some(names)}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(name or "''" for name in names[:20]) + more


def _converted(piece: Piece, array: pa.Array, at: int, texts: bool) -> Converted:
    column = piece.table.columns[at]
    try:
        return convert(array, column, texts=texts)
    except TypeError as error:
        raise piece.wrong(str(error), column=column.name) from error


def _rejected(
    piece: Piece,
    raw: pa.RecordBatch,
    at: dict[str, int],
    numbers: Numbers,
    converted: Sequence[Converted],
) -> tuple[list[Reject], npt.NDArray[np.bool_]]:
    """Return the rows that cannot be taken, and which can."""
    good = np.ones(raw.num_rows, dtype=np.bool_)
    told = []
    for column, result in zip(piece.table.columns, converted, strict=True):
        if result.bad is None:
            continue
        array = raw.column(at[column.name.lower()])
        for row in np.flatnonzero(result.bad & good):
            value = shown(_plain(array[int(row)]))
            why = result.why(int(row), value)
            told.append(Reject(int(numbers[row]), column.name, value, why))
        good &= ~result.bad
    return told, good


def _plain(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    try:
        value = scalar.as_py()
    except UnicodeDecodeError:
        value = scalar.as_buffer().to_pybytes()
    except (ValueError, OverflowError):  # years that Python's datetime has not
        return str(scalar.cast(pa.string()))
    return value.decode("utf-8", "backslashreplace") if type(value) is bytes else value
