"""Long lists of literals: read by one pass, as sqlglot takes 16 µs for each item.

`cut` takes the items of ``IN (1, 2, …)`` out of a text and leaves a word in their
place; `heard_whole` gives the words that sqlglot hears their places in the whole text;
`restore` puts the items into the tree.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from qserv.dialects.nodes import LongList
from qserv.errors import InvalidValue

FEW: Final = 1_000
"""Lists of no more items than this are left to sqlglot."""

WORD: Final = TokenType.HEREDOC_STRING
"""What a list is for sqlglot: a kind of text that ADQL does not have."""

Items = tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

_DIGITS: Final = r"[+-]?[0-9]{1,4000}+"
_DECIMAL: Final = r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_TEXT: Final = r"'(?:[^']++|'')*+'"


def _listed(item: str) -> re.Pattern[str]:
    # Not *+: Python 3.11.2 lets a possessive group keep what it should give back.
    return re.compile(rf"({item}(?:\s*,\s*{item})*)\s*\)")


_WHOLE_NUMBERS, _NUMBERS, _TEXTS = map(_listed, (_DIGITS, _DECIMAL, _TEXT))
# Where IN is a word: neither in a text, nor in a name in quotes, nor in a comment.
_IN: Final = re.compile(
    r"""'[^']*+'|"[^"]*+"|--[^\n]*+|(?<!\w)(IN)\s*\(\s*""", re.IGNORECASE
)
_BREAK: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Cut:
    """A list, and where it stood: from the first item's start to the last one's end."""

    start: int
    end: int
    items: Items


def cut(text: str) -> tuple[str, tuple[Cut, ...]]:
    """Cut the long lists out of a text.

    Returns
    -------
    str
        The text with ``0`` for each list.
    tuple of Cut
        The lists, in order; they hold numbers or texts, never both, and no NULL.

    Raises
    ------
    InvalidValue
        If a number is larger than any BIGINT or DOUBLE.
    """
    cuts = tuple(_cuts(text)) if text.count(",") >= FEW else ()
    pieces, at = [], 0
    for each in cuts:
        pieces += [text[at : each.start], "0"]
        at = each.end
    return "".join((*pieces, text[at:])), cuts


def _cuts(text: str) -> Iterator[Cut]:
    at = 0
    while (found := _IN.search(text, at)) is not None:
        at = found.end()
        if found[1] and (listed := _list_at(text, at)) is not None:
            yield listed
            at = listed.end


def _list_at(text: str, at: int) -> Cut | None:
    items: Items
    if found := _WHOLE_NUMBERS.match(text, at):
        items = tuple(map(int, found[1].split(",")))
    elif found := _NUMBERS.match(text, at):
        items = tuple(map(float, found[1].split(",")))
    elif found := _TEXTS.match(text, at):
        texts = (item[1:-1] for item in re.findall(_TEXT, found[1]))
        items = tuple(item.replace("''", "'") for item in texts)
    else:
        return None
    if len(items) <= FEW:
        return None
    _check(items)
    return Cut(at, found.end(1), items)


def _check(items: Items) -> None:
    if isinstance(items[0], str):
        return
    least, most = min(items), max(items)
    if isinstance(least, int) and not -(2**63) <= least <= most < 2**63:
        number = most if most >= 2**63 else least
        raise InvalidValue(f"{number} is larger than any BIGINT: write {number}.0")
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InvalidValue("a number in a list of IN is larger than any DOUBLE")


def heard_whole(text: str, cuts: Sequence[Cut], tokens: Sequence[Token]) -> None:
    """Give tokens, in place, their places in the whole text.

    Parameters
    ----------
    text, cuts
        The whole text, and what was cut out of it.
    tokens
        What sqlglot heard in the rest.
    """
    breaks = [found.end() - 1 for found in _BREAK.finditer(text)] if cuts else []
    lists = {each.start: number for number, each in enumerate(cuts)}
    removed = 0
    for token in tokens if cuts else ():
        token.start += removed
        if (number := lists.get(token.start)) is not None:
            token.token_type, token.text = WORD, str(number)
            removed += cuts[number].end - token.start - 1
        token.end += removed
        lines = bisect_left(breaks, token.end)
        token.line = lines + 1
        token.col = token.end - (breaks[lines - 1] if lines else -1)


def restore(tree: exp.Expr, cuts: Sequence[Cut]) -> None:
    """Put the items that were cut out into a tree, in place."""
    for node in tree.find_all(LongList) if cuts else ():
        node.set("items", cuts[int(node.name)].items)
