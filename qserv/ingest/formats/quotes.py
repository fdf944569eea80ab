"""Cuts delimited text into blocks of whole rows, and finds quotes that are misplaced.

Arrow takes what follows a closing quote for more of the value, and so a quote that was
forgotten in one row and one more in another swallow all rows between them. Here each
quote must open or close a value, or be one of two.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

BLOCK: Final = 8 * 2**20
"""Bytes that are read at a time."""
ROW_LIMIT: Final = 64 * 2**20
"""Bytes that no row is longer than."""

_NEWLINES: Final = b"\r\n"


class Stream(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most so many; none at the end."""


class Misplaced(Exception):
    """A quote is where none may be.

    Parameters
    ----------
    before
        The bytes from the start of the block up to and with that quote.
    """

    def __init__(self, before: bytes) -> None:
        super().__init__("a quote is misplaced")
        self.before = before


class TooLong(Exception):
    """A row is longer than `ROW_LIMIT`."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How rows and values are told apart.

    Parameters
    ----------
    delimiter
        One character.
    quote, escape
        One character, or empty for none.
    """

    delimiter: str
    quote: str
    escape: str

    def values(self, row: bytes) -> list[str]:
        """Return the values of one row.

        Raises
        ------
        csv.Error
            If one has more characters than `csv.field_size_limit` allows.
        """
        text = row.decode("utf-8", errors="replace")
        rows = csv.reader(
            StringIO(text, newline=""),
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
        )
        return next(rows, [])


def blocks(stream: Stream, dialect: Dialect) -> Iterator[bytes]:
    """Read a text as blocks of whole rows.

    Yields
    ------
    bytes
        One or more rows; the last may lack its newline.

    Raises
    ------
    Misplaced
        If a quote is misplaced: in a value, behind one, or never closed.
    TooLong
        If a row has no end.
    """
    held = b""
    for more in _parts(stream):
        held += more
        quotes = positions(held, dialect)
        _check(held, quotes, dialect, whole=False)
        if end := _end(unescaped(held, dialect), quotes):
            yield held[:end]
            held = held[end:]
        elif len(held) > ROW_LIMIT:
            raise TooLong
    if held:
        _check(held, positions(held, dialect), dialect, whole=True)
        yield _ended(held, dialect)


def _parts(stream: Stream) -> Iterator[bytes]:
    """Read a text behind its byte order mark."""
    start = b""
    while len(start) < len(codecs.BOM_UTF8) and (more := stream.read(BLOCK)):
        start += more
    yield start.removeprefix(codecs.BOM_UTF8)
    while more := stream.read(BLOCK):
        yield more


def _ended(held: bytes, dialect: Dialect) -> bytes:
    """End the last row.

    Arrow takes an empty value that ends the text for one in quotes, if one in quotes
    stands before it.
    """
    last = unescaped(held, dialect)[-1:]
    return held if last in {b"\r", b"\n", dialect.escape.encode()} else held + b"\n"


def rows(block: bytes, dialect: Dialect) -> Iterator[tuple[int, int]]:
    """Return where the rows of a block begin and end, without their newlines."""
    quotes, start = positions(block, dialect), 0
    for found in re.finditer(rb"\r\n|\n|\r", unescaped(block, dialect)):
        if np.searchsorted(quotes, found.start()) % 2 == 0:
            yield start, found.start()
            start = found.end()
    if start < len(block):
        yield start, len(block)


def positions(block: bytes, dialect: Dialect) -> npt.NDArray[np.int64]:
    """Return where quotes stand that are not escaped."""
    quote = dialect.quote.encode()
    if not quote or quote not in block:
        return np.empty(0, dtype=np.int64)
    plain = np.frombuffer(unescaped(block, dialect), np.uint8)
    return np.flatnonzero(plain == quote[0])


def unescaped(block: bytes, dialect: Dialect) -> bytes:
    """Return a block of the same length in which what is escaped means nothing."""
    if not dialect.escape:
        return block
    return re.sub(re.escape(dialect.escape.encode()) + rb"[\s\S]", b"__", block)


def _end(plain: bytes, quotes: npt.NDArray[np.int64]) -> int:
    """Return the end of the last whole row; 0 where there is none."""
    # A \r at the very end may belong to a \n that is not read yet.
    last = len(plain) - plain.endswith(b"\r")
    while True:
        newline = plain.rfind(b"\n", 0, last)
        newline = max(newline, plain.rfind(b"\r", newline + 1, last))
        before = int(np.searchsorted(quotes, newline))
        if before % 2 == 0:
            return newline + 1
        last = int(quotes[before - 1])


def _check(
    held: bytes, quotes: npt.NDArray[np.int64], dialect: Dialect, *, whole: bool
) -> None:
    if not quotes.size:
        return
    around = np.frombuffer(
        _NEWLINES + f"{dialect.delimiter}{dialect.quote}".encode(), np.uint8
    )
    seen = np.frombuffer(held, np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    inner = opening[opening > 0]
    bad = inner[~np.isin(seen[inner - 1], around)]
    inner = closing[closing + 1 < seen.size]
    bad = np.append(bad, inner[~np.isin(seen[inner + 1], around)])
    if not bad.size and whole and quotes.size % 2:
        bad = quotes[-1:]
    if bad.size:
        raise Misplaced(held[: int(bad.min()) + 1])
