"""Guesses the types of a text's columns from its rows."""

from collections.abc import Iterable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from qserv.ingest.formats.delimited import Opened
from qserv.ingest.formats.parsing import Parser
from qserv.ingest.formats.rows import Piece
from qserv.ingest.formats.texts import WORDS, parse

SAMPLE: Final = 256 * 2**20
"""Bytes, unpacked, of a text that are looked at, from its start."""

_TRUTHS: Final = ("true", "false", "t", "f")
_DIGITS: Final = r"^[+-]?\d{16,}$"
"""Whole numbers that a DOUBLE may not hold."""
_TIME: Final = pa.timestamp("us")
_WIDER: Final = {
    None: (pa.bool_(), pa.int64(), pa.float64(), _TIME, pa.string()),
    pa.bool_(): (pa.bool_(), pa.string()),
    pa.int64(): (pa.int64(), pa.float64(), pa.string()),
    pa.float64(): (pa.float64(), pa.string()),
    _TIME: (_TIME, pa.string()),
    pa.string(): (pa.string(),),
}
"""What a column may turn out to be, after what it was until then."""


def guess(piece: Piece, opened: Opened) -> pa.Schema:
    """Return the types that hold all values of a text, or of the start of a long one.

    Parameters
    ----------
    piece
        The file; its table is not looked at.
    opened
        Its rows.

    Raises
    ------
    BadContribution
        If there is no row.
    """
    names = opened.layout.names
    kept = [i for i, name in enumerate(names) if not piece.options.ignores(name)]
    parser = Parser(piece, opened.layout, dict.fromkeys(kept, pa.string()))
    guessed: dict[int, pa.DataType | None] = dict.fromkeys(kept)
    # What holds whole numbers that a DOUBLE does not: a fraction later makes it text.
    long: set[int] = set()
    rows = 0
    for block in _sample(opened.rows):
        table, rejects = parser.parse(block)
        rows += table.num_rows + len(rejects)
        for i, column in zip(kept, table.columns, strict=True):
            texts = _texts(column.combine_chunks())
            guessed[i] = _guess(texts, guessed[i])
            if guessed[i] in {pa.int64(), pa.float64()} and _any(texts, _DIGITS):
                long.add(i)
            if i in long and guessed[i] == pa.float64():
                guessed[i] = pa.string()
    if not rows:
        raise piece.wrong(
            "has a header and no row, so that the types of its columns cannot be "
            "guessed; give a schema, or infer it from another file"
        )
    return pa.schema([(names[i], found or pa.string()) for i, found in guessed.items()])


def _sample(blocks: Iterable[bytes]) -> Iterable[bytes]:
    seen = 0
    for block in blocks:
        yield block
        if (seen := seen + len(block)) >= SAMPLE:
            return


def _texts(column: pa.Array) -> pa.Array:
    """Return the values that say something of the type."""
    if column.type == pa.binary():
        return pa.array(["…"])  # no UTF-8: surely no number
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    words = pc.is_in(lower, pa.array(WORDS))
    return column.filter(pc.and_(column.is_valid(), pc.invert(words)))


def _guess(texts: pa.Array, before: pa.DataType | None) -> pa.DataType | None:
    if not len(texts):
        return before
    return next(wider for wider in _WIDER[before] if _holds(texts, wider))


def _holds(texts: pa.Array, wider: pa.DataType) -> bool:
    if pa.types.is_boolean(wider):
        words = pc.is_in(pc.utf8_lower(texts), pa.array(_TRUTHS))
        return pc.all(words).as_py() is True
    # Most columns are told by their start.
    return parse(texts.slice(0, 100), wider)[1] is None and (
        parse(texts, wider)[1] is None
    )


def _any(texts: pa.Array, pattern: str) -> bool:
    return pc.any(pc.match_substring_regex(texts, pattern)).as_py() is True
