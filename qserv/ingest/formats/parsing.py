"""Parses blocks of delimited text, and tells which rows are none of the table's.

A block is parsed by Arrow in the table's types at once. Columns in which something
else stands are read as texts from then on (`qserv.ingest.formats.texts`), and blocks
with rows of too few or too many values once more, row by row.
"""

import codecs
import re
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from qserv.ingest import stores
from qserv.ingest.formats import escapes
from qserv.ingest.formats.quotes import Dialect
from qserv.ingest.formats.rows import Piece, Reject, shown
from qserv.ingest.formats.texts import NULLS, parse, too_large, wrapped

_COLUMN: Final = re.compile(r"In CSV column #(\d+): ?")
_MARK: Final = "\ufdd0"
"""A character that no text has: it stands for a byte that is no UTF-8."""
_PARSED: Final = 2**20
"""Bytes of a block that one thread parses at a time."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the rows of a text are like.

    Parameters
    ----------
    dialect
        How values are told apart.
    names
        The columns.
    nulls
        Texts that are NULL where they stand without quotes.
    quoted_nulls
        Whether they are also in quotes.
    empty_rows
        Whether an empty line is a row, where rows have one column.
    """

    dialect: Dialect
    names: tuple[str, ...]
    nulls: tuple[str, ...]
    quoted_nulls: bool = False
    empty_rows: bool = True


@dataclass(slots=True)
class Parser:
    """Parses blocks of rows; remembers which columns hold what Arrow cannot read.

    Parameters
    ----------
    piece
        What is read.
    layout
        What its rows are like.
    types
        Types of the columns that are wanted, by their place in the file.
    loose
        The columns that are read as bytes, to be looked at one by one.
    """

    piece: Piece
    layout: Layout
    types: dict[int, pa.DataType]
    loose: set[int] = field(default_factory=set)

    def parse(self, block: bytes) -> tuple[pa.Table, list[Reject]]:
        """Return the rows of a block and those with too few or too many values.

        The rows are counted from 1.
        """
        rejects: list[Reject] = []
        strict = True
        block = escapes.sheltered(block, self.layout.dialect, self.layout.nulls)
        while True:
            try:
                table = self._read(block, None if strict else rejects)
            except pa.ArrowInvalid as error:
                rejects.clear()
                found = _COLUMN.search(str(error))
                column = int(found[1]) if found else -1
                if column in self.types and column not in self.loose:
                    self.loose.add(column)
                elif strict:
                    strict = False
                else:
                    raise self.piece.wrong(
                        f"cannot be read as rows of values: {stores.plain(error)}"
                    ) from error
            else:
                if not (dubious := self._dubious(table, block)):
                    return self._nulled(table), rejects
                # Only the text tells what stands there.
                self.loose |= dubious
                rejects.clear()

    def _read(self, block: bytes, rejects: list[Reject] | None) -> pa.Table:
        layout, dialect = self.layout, self.layout.dialect
        strict = rejects is None
        count = len(layout.names)

        def told(row: pyarrow.csv.InvalidRow) -> str:
            assert rejects is not None
            reason = f"has {row.actual_columns} values for {row.expected_columns}"
            rejects.append(
                Reject(
                    row.number,
                    "",
                    shown(escapes.written(row.text.replace(_MARK, "\ufffd"), dialect)),
                    reason + " columns",
                )
            )
            return "skip"

        marked = not strict and not _is_utf8(block)
        if marked:
            block = block.decode("utf-8", "qserv.mark").encode()
        if block.startswith(codecs.BOM_UTF8):
            # Arrow drops the first: of a text that begins so it is a part.
            block = codecs.BOM_UTF8 + block
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(
                # Rows have numbers only if one thread reads them in order.
                use_threads=strict,
                block_size=_PARSED if strict else len(block) + 1,
                column_names=[str(i) for i in range(count)],
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
                escape_char=dialect.escape or False,
                newlines_in_values=any(
                    mark and mark.encode() in block
                    for mark in (dialect.quote, dialect.escape)
                ),
                ignore_empty_lines=count > 1 or not layout.empty_rows,
                invalid_row_handler=None if strict else told,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={str(i): self._type(i) for i in self.types},
                include_columns=[str(i) for i in self.types],
                null_values=[escapes.marked(n, dialect) for n in layout.nulls],
                strings_can_be_null=True,
                quoted_strings_can_be_null=layout.quoted_nulls,
            ),
        )
        return _unmarked(table) if marked else table

    def _type(self, column: int) -> pa.DataType:
        return pa.binary() if column in self.loose else self.types[column]

    def _dubious(self, table: pa.Table, block: bytes) -> set[int]:
        """Return columns of which Arrow may have taken a text for another value."""
        columns = {int(n): table[n] for n in table.column_names if int(n) in self._firm}
        large = {i for i, values in columns.items() if too_large(values)}
        odd = {i for i, values in columns.items() if wrapped(values)}
        return (
            large
            | (odd if odd and _has_hex(block) else set())
            | {i for i, values in columns.items() if self._has_null(i, values)}
        )

    @property
    def _firm(self) -> set[int]:
        return self.types.keys() - self.loose

    def _has_null(self, column: int, values: pa.ChunkedArray) -> bool:
        """Return whether there are values that NULL may have been written for."""
        target, nulls = self.types[column], self.layout.nulls
        if nulls == NULLS or pa.types.is_string(target):
            return False
        those = parse(pa.array(nulls, pa.string()), target)[0].drop_null()
        return bool(pc.any(pc.is_in(values, those)).as_py())

    def _nulled(self, table: pa.Table) -> pa.Table:
        """Make NULL of what is, with blanks or quotes, where no text is wanted."""
        if self.layout.nulls == NULLS:
            return table
        nulls = pa.array([null.encode() for null in self.layout.nulls])
        for i, name in enumerate(table.column_names):
            if int(name) in self.loose and not pa.types.is_string(
                self.types[int(name)]
            ):
                bare = pc.replace_substring_regex(table[name], r"^\s+|\s+$", "")
                null = pc.is_in(bare, nulls)
                nothing = pa.scalar(None, pa.binary())
                table = table.set_column(
                    i, name, pc.if_else(null, nothing, table[name])
                )
        return table


def _has_hex(block: bytes) -> bool:
    # One character is looked for much faster than two.
    return any(x in block and b"0" + x in block for x in (b"x", b"X"))


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _MARK * (error.end - error.start), error.end


# Arrow hands over rows of a wrong length only where they are UTF-8.
codecs.register_error("qserv.mark", _mark)


def _unmarked(table: pa.Table) -> pa.Table:
    """Return texts as bytes, in which what was no UTF-8 is none again."""
    for i, name in enumerate(table.column_names):
        if pa.types.is_string(table.schema.field(i).type) or pa.types.is_binary(
            table.schema.field(i).type
        ):
            texts = table.column(i).cast(pa.binary())
            texts = pc.replace_substring(texts, _MARK.encode(), b"\xff")
            table = table.set_column(i, name, texts)
    return table
