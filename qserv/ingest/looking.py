"""Looks at files: which columns they have, in which types, and which are unique.

Types hold all rows of all files: Parquet says them in the footer of each file, texts
are read, up to a limit of rows. Uniqueness is seen in a sample of the first file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from qserv.catalog import names
from qserv.catalog.inference import Sight, columns_of, wider
from qserv.catalog.sidecar import Reading
from qserv.catalog.tables import Column, DataType
from qserv.errors import BadContribution
from qserv.ingest import readers
from qserv.ingest.files import CSV

SAMPLE: Final = 100_000
"""Rows of the first file in which ids are looked for."""
LIMIT: Final = 10_000_000
"""Rows of text files that are read for their types, of one table."""

_MAY_BE: Final = (
    (DataType.BIGINT, pa.int64()),
    (DataType.DOUBLE, pa.float64()),
    (DataType.BOOLEAN, pa.bool_()),
    (DataType.TIMESTAMP, pa.timestamp("us")),
    (DataType.VARCHAR, pa.string()),
)
"""What a column of texts may be, the first that fits all of them."""
_TRUTHS: Final = ("true", "false")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the files of one table.

    Parameters
    ----------
    sight
        Its columns, as the table names them.
    files
        How many files there are.
    rows
        Rows of text files that were read; 0 where no file is one.
    whole
        Whether all rows of all files are known to fit the types.
    empty
        Columns without any value in the files that were read.
    reading
        How the files are read: as was said, and whatever their names need besides.
    """

    sight: Sight
    files: int
    rows: int
    whole: bool
    empty: frozenset[str]
    reading: Reading


def look(
    table: str,
    files: Sequence[Path],
    reading: Reading,
    *,
    mend: bool = False,
    limit: int = LIMIT,
) -> Look:
    """Look at the files of a table.

    Parameters
    ----------
    table
        Its name.
    files
        All of them.
    reading
        How they are read.
    mend
        Rename columns whose names break the rule, and ignore what is qserv's own.
    limit
        Rows of text files that are read at most.

    Raises
    ------
    BadContribution
        If a file cannot be read, or two do not fit together.
    InvalidRequest
        If a column has a type that none of ours holds.
    """
    found = _seen(table, files, reading, limit)
    if mend:
        reading = _mended(reading, [column.name for column in found.columns])
    kept = [c for c in found.columns if not reading.ignores(c.name)]
    new = names.renamed([column.name for column in kept], reading.rename)
    called = {old.name: name for old, name in zip(kept, new, strict=True)}
    rows, unique = _unique(files[0], kept)
    return Look(
        sight=Sight(
            table,
            tuple(replace(column, name=called[column.name]) for column in kept),
            frozenset(called[name] for name in unique),
            rows,
        ),
        files=len(files),
        rows=found.rows,
        whole=found.whole,
        empty=frozenset(called[name] for name in found.empty if name in called),
        reading=reading,
    )


@dataclass(slots=True)
class _Seen:
    """The columns of the files so far, as the files name them."""

    columns: tuple[Column, ...] = ()
    rows: int = 0
    whole: bool = True
    empty: set[str] = field(default_factory=set)


def _seen(table: str, files: Sequence[Path], reading: Reading, limit: int) -> _Seen:
    seen = _Seen()
    texts = _Texts()
    for path in files:
        schema = readers.schema_of(path)
        kept = pa.schema([f for f in schema if not reading.ignores(f.name)])
        if path.suffix.lower() in CSV:
            columns = texts.read(path, kept, limit - seen.rows)
            seen.rows, seen.whole, nulls = texts.rows, texts.whole, texts.empty
        else:
            columns = columns_of(table, kept)
            nulls = {field.name for field in kept if pa.types.is_null(field.type)}
        seen.columns = _together(seen.columns, columns, path, files[0])
        seen.empty = nulls if path == files[0] else seen.empty & nulls
    return seen


def _together(
    known: tuple[Column, ...], more: Sequence[Column], path: Path, first: Path
) -> tuple[Column, ...]:
    """Widen the columns that are known by those of one more file."""
    if not known:
        return tuple(more)
    by_name = {column.name.lower(): column for column in more}
    if by_name.keys() != (names_of := {column.name.lower() for column in known}):
        odd = min(by_name.keys() ^ names_of)
        has, lacks = (path, first) if odd in by_name else (first, path)
        raise BadContribution(
            f"{has} has a column {odd}, and {lacks} has not; load them as tables of "
            "their own, or leave it out with `ignore` in the sidecar"
        )
    return tuple(
        _widened(column, by_name[column.name.lower()], path, first) for column in known
    )


def _widened(known: Column, more: Column, path: Path, first: Path) -> Column:
    datatype = wider(known.datatype, more.datatype)
    texts = {path.suffix.lower(), first.suffix.lower()} <= CSV
    if datatype is None and not texts:
        raise BadContribution(
            f"column {known.name} is {known.datatype} in {first}, but {more.datatype} "
            f"in {path}; convert one of them"
        )
    return replace(known, datatype=datatype or DataType.VARCHAR)


def _mended(reading: Reading, columns: Sequence[str]) -> Reading:
    own = [name for name in columns if name.lower() in names.SYSTEM | names.PSEUDO]
    rest = [name for name in columns if name not in own]
    said = dict(zip(rest, names.renamed(rest, reading.rename), strict=True))
    new = names.mended(list(said.values()))
    mended = {old: new[name] for old, name in said.items() if name in new}
    return replace(
        reading,
        ignore=(*reading.ignore, *own),
        rename={**reading.rename, **mended},
    )


def _unique(path: Path, columns: Sequence[Column]) -> tuple[int, frozenset[str]]:
    """Return the rows of a sample, and the columns that may be ids of them."""
    ids = [
        column.name
        for column in columns
        if column.datatype.is_integer or column.datatype is DataType.VARCHAR
    ]
    batches, rows = [], 0
    for batch in _raw(path, ids):
        batches.append(batch.slice(0, SAMPLE - rows))
        rows += batches[-1].num_rows
        if rows >= SAMPLE:
            break
    if not rows:
        return 0, frozenset()
    sample = pa.Table.from_batches(batches)
    return rows, frozenset(
        name
        for name in ids
        if sample[name].null_count == 0
        and pc.count_distinct(sample[name]).as_py() == rows
    )


class _Texts:
    """Finds out which types hold the texts of columns."""

    def __init__(self) -> None:
        self.rows = 0
        self.whole = True
        self.empty: set[str] = set()

    def read(self, path: Path, schema: pa.Schema, limit: int) -> tuple[Column, ...]:
        """Return the columns of a file, of which `limit` rows are read at most."""
        may_be = {name: list(_MAY_BE) for name in schema.names}
        self.empty = set(schema.names)
        left = limit
        for batch in _raw(path, schema.names):
            if left <= 0:
                self.whole = False
                break
            left -= batch.num_rows
            self.rows += batch.num_rows
            for name in schema.names:
                texts = batch.column(name)
                if texts.null_count < len(texts):
                    self.empty.discard(name)
                    may_be[name] = [
                        each for each in may_be[name] if _fit(texts, each[1])
                    ]
        return tuple(
            Column(
                name,
                DataType.VARCHAR if name in self.empty else may_be[name][0][0],
            )
            for name in schema.names
        )


def _fit(texts: pa.Array, arrow: pa.DataType) -> bool:
    if pa.types.is_boolean(arrow):
        truths = pc.is_in(pc.utf8_lower(texts.drop_null()), pa.array(_TRUTHS))
        return bool(pc.all(truths).as_py())
    try:
        texts.cast(arrow)
    except pa.ArrowInvalid:
        return False
    return True


def _raw(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read columns as they stand; those of text files as texts."""
    try:
        if path.suffix.lower() in CSV:
            with readers.texts(path) as stream:
                yield from stream
        else:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise BadContribution(f"{path}: cannot be read: {error}") from error
