r"""Keeps texts such as ``\N`` that are NULL apart from what an escape makes of them.

Arrow takes escapes away before it looks for NULL: of ``\N`` it would make the text N,
and NULL of ``\\N``, which is how the text ``\N`` is written. So a mark stands for the
escape where it is one of such a text.
"""

import re
from collections.abc import Iterable
from typing import Final

import numpy as np

from qserv.ingest.formats.quotes import Dialect, positions, unescaped

_MARK: Final = "\ufdd1"
"""A character that no text has."""


def marked(text: str, dialect: Dialect) -> str:
    """Return a text with the mark instead of escapes."""
    return text.replace(dialect.escape, _MARK) if dialect.escape else text


def written(text: str, dialect: Dialect) -> str:
    """Return a text with escapes instead of the mark."""
    return text.replace(_MARK, dialect.escape)


def sheltered(block: bytes, dialect: Dialect, nulls: Iterable[str]) -> bytes:
    """Return whole rows in which values without quotes that are NULL have the mark."""
    for null in nulls:
        if dialect.escape and dialect.escape in null and null.encode() in block:
            block = _sheltered(block, dialect, null)
    return block


def _sheltered(block: bytes, dialect: Dialect, null: str) -> bytes:
    ends = f"{dialect.delimiter}\r\n".encode()
    quotes, plain = positions(block, dialect), unescaped(block, dialect)
    new = marked(null, dialect).encode()

    def whole(found: re.Match[bytes]) -> bytes:
        at = found.start()
        begins = not at or plain[at - 1] in ends
        return new if begins and np.searchsorted(quotes, at) % 2 == 0 else found[0]

    behind = rb"(?=[" + re.escape(ends) + rb"]|\Z)"
    return re.sub(re.escape(null.encode()) + behind, whole, block)
