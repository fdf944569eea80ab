"""The words of a text: what is heard, in one spelling.

``SELECT ra AS x FROM Object WHERE mag != .50`` is heard as
``SELECT RA X FROM OBJECT WHERE MAG <> 0.5``: words that mean nothing are left out,
regular names are in upper case, names in quotes begin with a quote, and so do texts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from qserv.dialects import longlist
from qserv.errors import ParseError

Heard = list[tuple[str, Token]]
Parts = Iterable[Any]
"""Words as they are, syntax nodes, and lists of nodes that commas part; None is not."""
Rules = dict[type[exp.Expr], Callable[[Any], Parts]]
"""What each kind of syntax node says."""

_SAME: Final = {
    "!=": "<>",
    "INTEGER": "INT",
    "REAL": "FLOAT",
    "DOUBLE": "DOUBLE PRECISION",
}
_SPACE: Final = re.compile(r"(\s|--[^\n]*(\n|$))*")
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What a name without quotes looks like."""
_NUMBER: Final = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LETTER: Final = re.compile(r"\w")


_NO_NAMES: Final = """
    ALL AND ANTI ANY AS ASC ASOF BETWEEN BY CASE CROSS DESC DISTINCT ELSE END EXCEPT
    EXISTS FETCH FINAL FROM FULL GLOBAL GROUP HAVING IN INNER INTERSECT INTO IS JOIN
    LATERAL LEFT LIKE ILIKE LIMIT NATURAL NOT NULL OFFSET ON OR ORDER OUTER OVER
    PERCENT POSITIONAL RIGHT SELECT SEMI SOME THEN TOP UNION USING WHEN WHERE WITH
"""
"""Words that are names only in quotes; some would be joins in other languages."""
RESERVED: Final = frozenset(_NO_NAMES.split())


def place(token: Token) -> str:
    """Return ``line L, column C: `` of a token."""
    return f"line {token.line}, column {token.col - (token.end - token.start)}: "


def where_is(node: exp.Expr) -> str:
    """Return ``line L, column C: `` of a syntax node; empty where unknown."""
    identifier = node.find(exp.Identifier)
    meta = identifier.meta if identifier is not None else node.meta
    if "line" not in meta:
        return ""
    width = meta["end"] - meta["start"]
    return f"line {meta['line']}, column {meta['col'] - width}: "


def hear(text: str, tokens: Sequence[Token]) -> Heard:
    """Return the words of a text, each with its token.

    Parameters
    ----------
    text
        The query.
    tokens
        What sqlglot made of it.

    Raises
    ------
    ParseError
        If something between two words is neither space nor comment, or a word is
        neither name nor number.
    """
    heard: Heard = []
    before: Token | None = None
    for token in tokens:
        touching = _touches(text, before, token)
        word = _word(token)
        if touching and heard and heard[-1][0] == "." and word[0].isdigit():
            heard[-1] = (number(f".{token.text}"), token)
        else:
            heard.append((word, token))
        before = token
    if before is not None:
        _check_gap(text, before.end + 1, len(text), before)
    while heard and heard[-1][0] == ";":
        heard.pop()
    return heard


def name(text: str, *, in_quotes: bool) -> str:
    """Return how a name is heard: regular names match in any case."""
    return f'"{text}' if in_quotes else spelled(text)


def text_literal(text: str) -> str:
    """Return how a text is heard."""
    return f"'{text}"


def maybe(word: str) -> str:
    """Return how a tree says a word that may be left out, as the AS before a name."""
    return f"[{word}]"


def list_word(number: str) -> str:
    """Return how a long list is heard."""
    return f"list {number}"


def number(text: str) -> str:
    """Return how a number is heard: ``.50`` as ``0.5``."""
    if not _NUMBER.fullmatch(text):
        raise ParseError(f"{text} is no number")
    return text if text.isdigit() else repr(float(text))


def spelled(word: str) -> str:
    """Return how a word or a sign is heard."""
    upper = " ".join(word.upper().split())
    return _SAME.get(upper, upper)


def _check_gap(text: str, start: int, end: int, beside: Token) -> None:
    if not _SPACE.fullmatch(text, start, end):
        skipped = text[start:end].strip()[:40]
        where = "after" if beside.end < start else "before"
        raise ParseError(
            f"{place(beside)}«{skipped}» {where} this is no comment: use --"
        )


def _touches(text: str, before: Token | None, token: Token) -> bool:
    """Return whether a token touches the one before it; between them is no word."""
    start = 0 if before is None else before.end + 1
    _check_gap(text, start, token.start, token)
    touching = before is not None and start == token.start
    if touching and _LETTER.match(text, start - 1) and _LETTER.match(text, start):
        raise ParseError(f"{place(token)}a space is missing before «{token.text}»")
    return touching


def _word(token: Token) -> str:
    match token.token_type:
        case TokenType.STRING:
            return text_literal(token.text)
        case longlist.WORD:
            return list_word(token.text)
        case TokenType.IDENTIFIER if not token.text:
            raise ParseError(f"{place(token)}a name in quotes is empty")
        case TokenType.IDENTIFIER:
            return name(token.text, in_quotes=True)
        case TokenType.NUMBER if not _NUMBER.fullmatch(token.text):
            raise ParseError(f"{place(token)}{token.text} is no number")
        case TokenType.NUMBER:
            return number(token.text)
        case TokenType.VAR if not NAME.fullmatch(token.text):
            raise ParseError(
                f"{place(token)}{token.text} is no name: one with other characters "
                "than letters, digits and _ stands in quotes"
            )
        case _:
            return spelled(token.text)
