"""Reads CSV and TSV, as blocks of whole rows."""

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, dropwhile
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qserv.ingest import stores
from qserv.ingest.formats import quotes
from qserv.ingest.formats.parsing import Layout, Parser
from qserv.ingest.formats.quotes import Dialect, Misplaced, Stream, TooLong
from qserv.ingest.formats.rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    Batch,
    Numbers,
    Piece,
    Reject,
    conform,
    numbered,
    wanted,
)
from qserv.ingest.formats.texts import NULLS, text_of
from qserv.ingest.inputs import Format
from qserv.wire.codec import arrow_schema

_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHERS: Final = {";": "';'", "\t": "a tab", "|": "'|'", ",": "','", " ": "a space"}


@dataclass(slots=True)
class Place:
    """How far reading came.

    Parameters
    ----------
    row
        Number of the next row; 0 for the header.
    columns
        How many values a row has; 0 where the header is to tell.
    empty_rows
        Whether an empty line is a row, where rows have one column.
    """

    row: int
    columns: int = 0
    empty_rows: bool = True

    def behind(self, block: bytes, dialect: Dialect) -> int:
        """Return the number of the last row of a block from here on."""
        rows = [block[start:end] for start, end in quotes.rows(block, dialect)]
        if not self.row:
            rows = list(dropwhile(lambda row: not row, rows))
        columns = self.columns or rows[0].count(dialect.delimiter.encode()) + 1
        empty_rows = self.empty_rows and columns == 1
        return self.row - 1 + sum(empty_rows or bool(row) for row in rows)


@dataclass(slots=True)
class Opened:
    """A text behind its header.

    Parameters
    ----------
    layout
        What its rows are like.
    rows
        Blocks of whole rows.
    place
        How far reading came; who reads the blocks moves it on.
    masks
        Place of a column -> place of the one that says where it is NULL.
    """

    layout: Layout
    rows: Iterator[bytes]
    place: Place
    masks: Mapping[int, int] = field(default_factory=dict)


def read(piece: Piece) -> Iterator[Batch]:
    """Read a CSV or TSV; see `qserv.ingest.formats.read`."""
    with stores.named(piece.file.name), stream_of(piece) as stream:
        yield from read_rows(piece, begin(piece, stream))


def stream_of(piece: Piece) -> pa.NativeFile:
    """Open a text for reading from its start, unpacked."""
    return stores.streamed(piece.file.uri, piece.file.compression)


def begin(piece: Piece, stream: Stream) -> Opened:
    """Read the header of a CSV or TSV.

    Raises
    ------
    BadContribution
        If there is none, or it is none of the table's.
    """
    options, dialect = piece.options, _dialect(piece)
    place = Place(0 if options.header else 1)
    nulls = NULLS if options.nulls is None else options.nulls
    rows = whole_rows(piece, stream, dialect, place)
    names = options.names or tuple(column.name for column in piece.table.columns)
    if options.header:
        found, rows = header(piece, rows, dialect)
        if options.names and len(options.names) != len(found):
            raise piece.wrong(
                f"its header names {len(found)} columns, but {len(names)} names are "
                f"given; it names {', '.join(found)}"
            )
        names = options.names or found
        _hint(piece, names, dialect)
        place.row = 1
    if not names:
        raise piece.wrong(
            "has no header: say their `names` under `read:` in the sidecar"
        )
    place.columns = len(names)
    return Opened(Layout(dialect, names, nulls), rows, place)


def header(
    piece: Piece, rows: Iterator[bytes], dialect: Dialect
) -> tuple[tuple[str, ...], Iterator[bytes]]:
    """Return the names in the first row, and the rows behind it.

    Raises
    ------
    BadContribution
        If there is no row.
    """
    block = next(rows, b"").lstrip(b"\r\n")
    if block.startswith(b"# %ECSV "):
        raise piece.wrong("is ECSV by its first line: say --format ecsv")
    found = quotes.rows(block, dialect)
    _, end = next(found, (0, 0))
    start, _ = next(found, (len(block), 0))
    try:
        names = dialect.values(block[:end])
    except csv.Error as error:
        raise piece.wrong(f"its first line names no columns: {error}") from error
    if not names:
        raise piece.wrong("is empty; its first line must name columns")
    rest = [block[start:]] if start < len(block) else []
    return tuple(name.strip() for name in names), chain(rest, rows)


def whole_rows(
    piece: Piece, stream: Stream, dialect: Dialect, place: Place
) -> Iterator[bytes]:
    """Read a text as blocks of whole rows.

    Raises
    ------
    BadContribution
        If a quote is misplaced, a row has no end, or the text is no UTF-8.
    """
    found = quotes.blocks(stream, dialect)
    try:
        for number, block in enumerate(found):
            if not number:
                _refuse_wide(piece, block)
            yield block
    except Misplaced as error:
        if not place.row:
            _refuse_wide(piece, error.before)
        row = place.behind(error.before, dialect)
        raise piece.wrong(
            "a quote opens and never closes, or stands inside a value; a quote in a "
            "value is written twice, and the value stands in quotes (if quotes mean "
            "nothing in this file, say --quote '')",
            row=row,
        ) from error
    except TooLong as error:
        raise piece.wrong(
            f"is longer than {quotes.ROW_LIMIT >> 20} MiB; is it rows of text?",
            row=place.row,
        ) from error


def _refuse_wide(piece: Piece, start: bytes) -> None:
    if start.startswith(_WIDE):
        raise piece.wrong("is UTF-16; convert it to UTF-8")


def read_rows(piece: Piece, opened: Opened) -> Iterator[Batch]:
    """Read rows behind a header."""
    layout, place = opened.layout, opened.place
    schema = arrow_schema(piece.table.columns)
    kept = wanted(piece, layout.names)
    types = {
        i: schema.field(piece.table.column(name).name).type for i, name in kept.items()
    }
    masks = {i: mask for i, mask in opened.masks.items() if i in kept}
    parser = Parser(piece, layout, types | dict.fromkeys(masks.values(), pa.string()))
    for block in opened.rows:
        table, rejects = parser.parse(block)
        table = _unmasked(table, masks)
        first = place.row
        rejects = [replace(r, row=r.row + first - 1) for r in rejects]
        count = table.num_rows + len(rejects)
        numbers = np.delete(numbered(first, count), [r.row - first for r in rejects])
        place.row += count
        names = [kept[int(n)] for n in table.column_names]
        yield from _batches(piece, table.rename_columns(names), numbers, rejects)


def raw(piece: Piece) -> Iterator[pa.RecordBatch]:
    """Read all rows as texts; those of too few or too many values are left out."""
    with stores.named(piece.file.name), stream_of(piece) as stream:
        yield from raw_rows(piece, begin(piece, stream))


def schema_of(piece: Piece) -> pa.Schema:
    """Return the columns of a text: all of them are texts."""
    with stores.named(piece.file.name), stream_of(piece) as stream:
        names = begin(piece, stream).layout.names
    return pa.schema([(name, pa.string()) for name in names])


def raw_rows(piece: Piece, opened: Opened) -> Iterator[pa.RecordBatch]:
    """Read all rows as texts; those of too few or too many values are left out."""
    names = opened.layout.names
    parser = Parser(piece, opened.layout, dict.fromkeys(range(len(names)), pa.string()))
    for block in opened.rows:
        table = _unmasked(parser.parse(block)[0], opened.masks).combine_chunks()
        columns = [_one(column) for column in table.columns]
        texts = [
            text_of(column)[0] if column.type == pa.binary() else column
            for column in columns
        ]
        named = [names[int(n)] for n in table.column_names]
        whole = pa.RecordBatch.from_arrays(texts, names=named)
        for start in range(0, whole.num_rows, BATCH_ROWS):
            yield whole.slice(start, BATCH_ROWS)


def _unmasked(table: pa.Table, masks: Mapping[int, int]) -> pa.Table:
    """Return columns, with NULL where astropy keeps a value behind a mask."""
    for column, mask in masks.items():
        at = table.column_names.index(str(column))
        values, said = table.column(at), table[str(mask)]
        masked = pc.equal(pc.utf8_lower(said.cast(pa.string())), "true")
        nothing = pa.scalar(None, values.type)
        values = pc.if_else(masked.fill_null(False), nothing, values)
        table = table.set_column(at, str(column), values)
    return table.drop_columns([str(mask) for mask in masks.values()])


def _batches(
    piece: Piece, table: pa.Table, numbers: Numbers, rejects: Sequence[Reject]
) -> Iterator[Batch]:
    whole = table.combine_chunks()
    width = max(table.nbytes // max(table.num_rows, 1), 1)
    step = max(min(BATCH_ROWS, BATCH_BYTES // width), 1)
    told = list(rejects)
    for start in range(0, max(table.num_rows, 1), step):
        more = start + step < table.num_rows
        now = [r for r in told if not more or r.row < numbers[start + step]]
        told = told[len(now) :]
        part = whole.slice(start, step)
        raw = pa.RecordBatch.from_arrays(
            [_one(column) for column in part.columns], names=part.column_names
        )
        some = numbers[start : start + step]
        yield conform(piece, raw, some, texts=True, rejects=now)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _dialect(piece: Piece) -> Dialect:
    options = piece.options
    by_format = "\t" if piece.file.format is Format.TSV else ","
    # A quote that escapes itself is a quote that is doubled.
    escape = "" if options.escape == options.quote else options.escape
    dialect = Dialect(options.delimiter or by_format, options.quote, escape)
    for what in ("delimiter", "quote", "escape"):
        text = getattr(dialect, what)
        if len(text.encode()) > 1 or text in {"\r", "\n"}:
            raise piece.wrong(f"{what} {text!r} is not one ASCII character")
    if dialect.delimiter in {dialect.quote, dialect.escape}:
        raise piece.wrong(f"delimiter {dialect.delimiter!r} is quote or escape, too")
    return dialect


def _hint(piece: Piece, names: Sequence[str], dialect: Dialect) -> None:
    """Say which other delimiter the file seems to have."""
    if len(names) > 1 or piece.table.find(names[0]):
        return
    for other, called in _OTHERS.items():
        if other in names[0] and other != dialect.delimiter:
            raise piece.wrong(
                f"the header has one column, {names[0]!r}: is the delimiter {called}? "
                "Say --delimiter"
            )


def count(_piece: Piece) -> None:
    """Return None: only reading tells how many rows there are."""
