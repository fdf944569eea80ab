"""Looks at files: which columns they have, in which types, and which are unique.

Types hold all rows of all files: Parquet says them in the footer of each file, texts
are read, up to a limit of rows. Uniqueness is seen in a sample of the first file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qserv.catalog import names
from qserv.catalog.inference import Sight, columns_of, wider
from qserv.catalog.sidecar import Reading
from qserv.catalog.tables import Column, Table, TableKind
from qserv.catalog.tables import DataType as D
from qserv.errors import BadContribution
from qserv.ingest.formats import pieces, raw, read, schema_of
from qserv.ingest.formats.texts import WORDS, parse
from qserv.ingest.inputs import Format, InputFile, ReadOptions, find, read_options
from qserv.wire.codec import arrow_schema

SAMPLE: Final = 100_000
"""Rows of the first file in which ids are looked for."""
LIMIT: Final = 10_000_000
"""Rows of text files that are read for their types, of one table."""

_TEXTS: Final = frozenset({Format.CSV, Format.TSV})
"""Formats that do not say the types of their columns."""
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
_INTEGER: Final = r"^\s*[+-]?[0-9]+\s*$"
_LONG: Final = r"^\s*[+-]?[0-9]{16,}\s*$"


@dataclass(frozen=True, slots=True)
class Stray:
    """That a text was seen in a column of numbers.

    Parameters
    ----------
    file
        Where.
    options
        How it is read.
    column
        The column, as the file names it.
    """

    file: InputFile
    options: ReadOptions
    column: str

    def place(self, *, short: bool = False) -> str:
        """Return file (if `short`, without its path), row and text of the first one."""
        name = self.file.name.rpartition("/")[2] if short else self.file.name
        others = set(schema_of(self.file, self.options).names) - {self.column}
        options = replace(
            self.options,
            ignore=self.options.ignore | others,
            rename={self.column: _VALUE.name},
        )
        table = Table("T", TableKind.REPLICATED, (_VALUE,))
        batches = chain.from_iterable(map(read, pieces(table, self.file, options)))
        rejects = chain.from_iterable(batch.rejects for batch in batches)
        first = next((reject for reject in rejects if reject.column), None)
        return f"{name}, row {first.row}: {first.value!r}" if first else name


_VALUE: Final = Column("v", D.DOUBLE)


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
    strays
        Column -> where the first text stands, of columns whose texts are numbers else.
    """

    sight: Sight
    files: int
    rows: int
    whole: bool
    empty: frozenset[str]
    reading: Reading
    strays: Mapping[str, Stray]


def look(
    table: str,
    patterns: Sequence[str | Path],
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
    patterns
        All its files: paths, directories, wildcards, URIs.
    reading
        How they are read.
    mend
        Rename columns whose names break the rule, and ignore what is qserv's own.
    limit
        Rows of text files that are read at most.

    Raises
    ------
    BadContribution
        If there is none, one cannot be read, or two do not fit together.
    InvalidRequest
        If a column has a type that none of ours holds.
    """
    # Columns are renamed here: what a new name should be depends on all old ones.
    options = read_options(reading.options, ignore=reading.ignore)
    files = find(table, patterns, options)
    found = _seen(table, files, options, limit)
    if mend:
        reading = _mended(reading, [column.name for column in found.columns])
    kept = [c for c in found.columns if not reading.ignores(c.name)]
    new = names.renamed([column.name for column in kept], reading.rename)
    called = {old.name: name for old, name in zip(kept, new, strict=True)}
    rows, unique = _unique(files[0], options, kept)
    return Look(
        sight=Sight(
            table,
            tuple(replace(column, name=called[column.name]) for column in kept),
            frozenset(called[name] for name in unique),
            rows,
            frozenset(called[name] for name in found.strays if name in called),
        ),
        files=len(files),
        rows=found.rows,
        whole=found.whole,
        empty=frozenset(called[name] for name in found.empty if name in called),
        reading=reading,
        strays={called[n]: each for n, each in found.strays.items() if n in called},
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The columns of all files, as the first names them."""

    columns: tuple[Column, ...]
    rows: int
    whole: bool
    empty: frozenset[str]
    strays: Mapping[str, Stray]


def _seen(
    table: str, files: Sequence[InputFile], options: ReadOptions, limit: int
) -> _Seen:
    texts = _Texts(limit)
    first: list[str] = []
    # Name in the first file -> what is known; what has no value is not known.
    known: dict[str, Column] = {}
    for file in files:
        schema = schema_of(file, options)
        first = first or schema.names
        called = _called(schema.names, first, file, files[0])
        if file.format in _TEXTS:
            texts.read(file, options, called)
        else:
            some = [field for field in schema if not pa.types.is_null(field.type)]
            columns = columns_of(f"{table}, {file.name}", pa.schema(some))
            _widen(known, columns, [called[c.name] for c in columns], file.name)
    _widen(known, tuple(texts.known.values()), list(texts.known), "texts")
    return _Seen(
        columns=tuple(
            replace(known.get(name, Column(name, D.VARCHAR)), name=name)
            for name in first
        ),
        rows=texts.rows,
        whole=texts.whole,
        empty=frozenset(first) - known.keys(),
        strays=texts.strays,
    )


def _called(
    columns: Sequence[str], first: Sequence[str], file: InputFile, before: InputFile
) -> dict[str, str]:
    """Return what the first file calls the columns of another."""
    folded, expected = ({n.lower(): n for n in each} for each in (columns, first))
    if odd := sorted(folded.keys() ^ expected.keys()):
        has, lacks = (file, before) if odd[0] in folded else (before, file)
        raise BadContribution(
            f"{has.name} has a column {(folded | expected)[odd[0]]}, and {lacks.name} "
            "has not; load them as tables of their own, or leave it out with `ignore` "
            "in the sidecar"
        )
    return {n: n if n in first else expected[n.lower()] for n in columns}


def _widen(
    known: dict[str, Column], more: Sequence[Column], called: Sequence[str], where: str
) -> None:
    """Widen what is known of columns by those of one more file."""
    for column, name in zip(more, called, strict=True):
        before = known.setdefault(name, column)
        if (datatype := wider(before.datatype, column.datatype)) is None:
            raise BadContribution(
                f"column {column.name} is {column.datatype} in {where}, but "
                f"{before.datatype} before; convert one of them"
            )
        known[name] = replace(before, datatype=datatype)


def _mended(reading: Reading, columns: Sequence[str]) -> Reading:
    own = [name for name in columns if names.to_leave_out(name)]
    rest = [name for name in columns if name not in own]
    said = dict(zip(rest, names.renamed(rest, reading.rename), strict=True))
    new = names.mended(list(said.values()))
    mended = {old: new[name] for old, name in said.items() if name in new}
    return replace(
        reading,
        ignore=(*reading.ignore, *own),
        rename={**reading.rename, **mended},
    )


def _unique(
    file: InputFile, options: ReadOptions, columns: Sequence[Column]
) -> tuple[int, frozenset[str]]:
    """Return the rows of a sample, and the columns that may be ids of them."""
    ids = [
        column.name
        for column in columns
        if column.datatype.is_integer or column.datatype is D.VARCHAR
    ]
    batches, rows = [], 0
    for batch in raw(file, options):
        batches.append(batch.select(ids).slice(0, SAMPLE - rows))
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
        self.known: dict[str, Column] = {}
        """Those that have a value, each of a type that fits all of them."""
        self.strays: dict[str, Stray] = {}
        """Those in which texts stand between numbers."""
        self._large: set[str] = set()

    def read(
        self, file: InputFile, options: ReadOptions, called: Mapping[str, str]
    ) -> None:
        """Read one more file, as far as the limit allows."""
        for batch in raw(file, options):
            if self.rows >= self._limit:
                self.whole = False
                return
            self.rows += batch.num_rows
            for name, texts in zip(batch.schema.names, batch.columns, strict=True):
                if self._take(called[name], texts):
                    self.strays[called[name]] = Stray(file, options, name)

    def _take(self, name: str, texts: pa.Array) -> bool:
        """Widen a column, and return whether texts were found between numbers."""
        known = self.known.get(name)
        if texts.null_count == len(texts) or (known is None and not len(_said(texts))):
            return False
        datatype = next(
            each
            for each in _FITTING[known.datatype if known else None]
            if _fit(texts, each) and not (each is D.DOUBLE and name in self._large)
        )
        self.known[name] = Column(name, datatype)
        if datatype is D.BIGINT and _is_large(parse(texts, pa.int64())[0]):
            self._large.add(name)
        if datatype is not D.VARCHAR or (known and known.datatype is datatype):
            return False
        return _between(texts, numbers=known is not None and known.datatype.is_numeric)


def _between(texts: pa.Array, *, numbers: bool) -> bool:
    """Return whether some texts are no numbers, where all were before or most are."""
    texts = _said(texts)
    bad = parse(texts, pa.float64())[1]
    return bad is not None and (numbers or 2 * int(bad.sum()) < len(texts))


def _fit(texts: pa.Array, datatype: D) -> bool:
    if datatype is D.VARCHAR:
        return True
    if datatype is D.BOOLEAN:
        # Whatever else may be read as a truth is more likely something else.
        return _all(pc.is_in(pc.utf8_lower(_said(texts)), pa.array(_TRUTHS)))
    arrow = arrow_schema([Column("", datatype)]).field(0).type
    values, bad = parse(texts, arrow)
    if bad is not None:
        return False
    # Hexadecimal numbers are names, and decimals may be more than whole numbers.
    if datatype is D.BIGINT and not _all(_matches(_said(texts), _INTEGER)):
        return False
    # Whole numbers beyond 64 bits are ids: a DOUBLE would round them.
    if datatype is D.DOUBLE and _is_large(values):
        return not pc.any(_matches(texts, _LONG)).as_py()
    return True


def _said(texts: pa.Array) -> pa.Array:
    """Leave out what is NULL wherever no text is wanted."""
    null = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(texts)), pa.array(WORDS))
    return texts.filter(pc.invert(null)).drop_null()


def _matches(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(texts, pattern)


def _all(truths: pa.Array) -> bool:
    return pc.all(truths).as_py() is not False


def _is_large(values: pa.Array) -> bool:
    ends = pc.min_max(values).as_py()
    if ends["min"] is None:
        return False
    return bool(max(-ends["min"], ends["max"]) > _EXACT)
