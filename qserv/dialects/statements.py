"""What is to be done with a query: run it, say how, or both."""

import re
from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """What a text asks for."""

    RUN = "run"
    EXPLAIN = "explain"
    """Say how the query would be answered."""
    ANALYZE = "analyze"
    """Run it, and say what happened."""


_SPACE: Final = r"(?:\s|--[^\n]*\n)*+"
_EXPLAIN: Final = re.compile(
    rf"{_SPACE}EXPLAIN\b(?:{_SPACE}(ANALYZE)\b)?", re.IGNORECASE
)


def explained(text: str) -> tuple[Mode, str]:
    """Take EXPLAIN and EXPLAIN ANALYZE off a text.

    Parameters
    ----------
    text
        What a user sent.

    Returns
    -------
    Mode
        What it asks for.
    str
        The query, with blanks for the words taken off, so that places stay true.
    """
    found = _EXPLAIN.match(text)
    if found is None:
        return Mode.RUN, text
    words = re.sub(r"EXPLAIN|ANALYZE", " " * 7, found[0], flags=re.IGNORECASE)
    mode = Mode.ANALYZE if found[1] else Mode.EXPLAIN
    return mode, words + text[found.end() :]
