"""Looks at files: which columns they have, in which types, and which are unique.

Types hold all rows of all files: Parquet says them in the footer of each file, texts
are read, up to a limit of rows. Uniqueness is seen in a sample of the first file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from qserv.catalog import names
from qserv.catalog.inference import Sight, columns_of, wider
from qserv.catalog.sidecar import Reading
from qserv.catalog.tables import Column
from qserv.catalog.tables import DataType as D
from qserv.errors import BadContribution
from qserv.ingest import readers
from qserv.ingest.files import CSV
from qserv.wire.codec import arrow_schema

SAMPLE: Final = 100_000
"""Rows of the first file in which ids are looked for."""
LIMIT: Final = 10_000_000
"""Rows of text files that are read for their types, of one table."""

_FITTING: Final = {
    None: (D.BIGINT, D.DOUBLE, D.BOOLEAN, D.TIMESTAMP, D.VARCHAR),
    D.BIGINT: (D.BIGINT, D.DOUBLE, D.VARCHAR),
    D.DOUBLE: (D.DOUBLE, D.VARCHAR),
    D.BOOLEAN: (D.BOOLEAN, D.VARCHAR),
    D.TIMESTAMP: (D.TIMESTAMP, D.VARCHAR),
    D.VARCHAR: (D.VARCHAR,),
}
"""What a column of texts was so far -> what it may be with more of them."""
_EXACT: Final = 10**15
"""A DOUBLE holds all whole numbers up to here."""
_TRUTHS: Final = ("true", "false")
_WHOLE: Final = r"^[+-]?[0-9]{16,}$"


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


@dataclass(frozen=True, slots=True)
class _Seen:
    """The columns of all files, as the first names them."""

    columns: tuple[Column, ...]
    rows: int
    whole: bool
    empty: frozenset[str]


def _seen(table: str, files: Sequence[Path], reading: Reading, limit: int) -> _Seen:
    texts = _Texts(limit)
    # Lower-case name -> what is known of the column; what has no value is not known.
    known: dict[str, Column] = {}
    for path in files:
        schema = readers.schema_of(path)
        kept = pa.schema([f for f in schema if not reading.ignores(f.name)])
        if path == files[0]:
            first = kept.names
        _check_columns(kept.names, first, path, files[0])
        if path.suffix.lower() in CSV:
            texts.read(path, kept.names)
        else:
            some = [field for field in kept if not pa.types.is_null(field.type)]
            _widen(known, columns_of(table, pa.schema(some)), str(path))
    _widen(known, texts.columns, "texts")
    return _Seen(
        columns=tuple(
            replace(known[name.lower()], name=name)
            if name.lower() in known
            else Column(name, D.VARCHAR)
            for name in first
        ),
        rows=texts.rows,
        whole=texts.whole,
        empty=frozenset(name for name in first if name.lower() not in known),
    )


def _check_columns(
    columns: Sequence[str], first: Sequence[str], path: Path, before: Path
) -> None:
    folded, expected = ({n.lower(): n for n in each} for each in (columns, first))
    if odd := sorted(folded.keys() ^ expected.keys()):
        has, lacks = (path, before) if odd[0] in folded else (before, path)
        raise BadContribution(
            f"{has} has a column {(folded | expected)[odd[0]]}, and {lacks} has not; "
            "load them as tables of their own, or leave it out with `ignore` in the "
            "sidecar"
        )


def _widen(known: dict[str, Column], more: Sequence[Column], where: str) -> None:
    """Widen what is known of columns by those of one more file."""
    for column in more:
        before = known.setdefault(column.name.lower(), column)
        if (datatype := wider(before.datatype, column.datatype)) is None:
            raise BadContribution(
                f"column {column.name} is {column.datatype} in {where}, but "
                f"{before.datatype} before; convert one of them"
            )
        known[column.name.lower()] = replace(before, datatype=datatype)


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
        if column.datatype.is_integer or column.datatype is D.VARCHAR
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
    """Finds out which types hold the texts of columns, in all files together.

    Parameters
    ----------
    limit
        Rows that are read at most.
    """

    def __init__(self, limit: int) -> None:
        self.rows = 0
        self.whole = True
        self._limit = limit
        self._known: dict[str, Column] = {}
        self._large: set[str] = set()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that have a value, each of a type that fits all of them."""
        return tuple(self._known.values())

    def read(self, path: Path, names: Sequence[str]) -> None:
        """Read columns of one more file, as far as the limit allows."""
        for batch in _raw(path, names):
            if self.rows >= self._limit:
                self.whole = False
                return
            self.rows += batch.num_rows
            for name in names:
                self._take(name, batch.column(name))

    def _take(self, name: str, texts: pa.Array) -> None:
        if texts.null_count == len(texts):
            return
        key = name.lower()
        known = self._known.get(key)
        datatype = next(
            each
            for each in _FITTING[known.datatype if known else None]
            if _fit(texts, each) and not (each is D.DOUBLE and key in self._large)
        )
        self._known[key] = Column(known.name if known else name, datatype)
        if datatype is D.BIGINT and _is_large(texts.cast(pa.int64())):
            self._large.add(key)


def _fit(texts: pa.Array, datatype: D) -> bool:
    if datatype is D.BOOLEAN:
        truths = pc.is_in(pc.utf8_lower(texts.drop_null()), pa.array(_TRUTHS))
        return bool(pc.all(truths).as_py())
    try:
        values = texts.cast(arrow_schema([Column("", datatype)]).field(0).type)
    except pa.ArrowInvalid:
        return False
    # Whole numbers beyond 64 bits are ids: a DOUBLE would round them.
    if datatype is D.DOUBLE and _is_large(values):
        return not pc.any(pc.match_substring_regex(texts, _WHOLE)).as_py()
    return True


def _is_large(values: pa.Array) -> bool:
    ends = pc.min_max(values).as_py()
    return bool(max(-ends["min"], ends["max"]) > _EXACT)


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
