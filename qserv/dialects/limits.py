"""What a text may cost before it is parsed: each word takes sqlglot 20 µs."""

from collections.abc import Sequence
from typing import Final

from sqlglot import parser
from sqlglot.tokenizer_core import Token, TokenType

from qserv.dialects.lexis import place
from qserv.errors import LimitExceeded, ParseError

MOST_CHARACTERS: Final = 4_194_304
"""Of a text: a hundred thousand ids in a list, and more."""
MOST_OTHERS: Final = 262_144
"""Of a text without its long lists."""
MOST_WORDS: Final = 50_000
"""Of a text without its long lists; signs are words too."""
LONGEST_WORD: Final = 1_000
"""Characters of a name or a number."""
MOST_DEEP: Final = 32
"""Brackets and CASEs in each other: sqlglot calls itself twenty times for each."""
MOST_OPERATIONS: Final = 250
"""UNIONs and the like in a query."""

_OPERATIONS: Final = parser.Parser.SET_OPERATIONS
_OPENING: Final = {TokenType.L_PAREN, TokenType.CASE}
_CLOSING: Final = {TokenType.R_PAREN, TokenType.END}


def check_text(text: str) -> None:
    """Check a text before anything is read of it.

    Raises
    ------
    LimitExceeded
        If it is too long.
    ParseError
        If it holds a NUL character.
    """
    if len(text) > MOST_CHARACTERS:
        raise LimitExceeded(
            f"the query has {len(text)} characters, {MOST_CHARACTERS} are allowed: "
            "put long lists into a table"
        )
    if "\x00" in text:
        raise ParseError("the query holds a NUL character: remove it")


def check_rest(text: str) -> None:
    """Check a text without its long lists.

    Raises
    ------
    LimitExceeded
        If it is too long.
    """
    if len(text) > MOST_OTHERS:
        raise LimitExceeded(
            f"the query has {len(text)} characters, {MOST_OTHERS} are allowed besides "
            "lists of numbers or texts after IN: put them into a table"
        )


def check_words(tokens: Sequence[Token]) -> None:
    """Check the words of a text before they are parsed.

    Raises
    ------
    LimitExceeded
        If there are too many of them, or of some kind, or one is too long.
    """
    if len(tokens) > MOST_WORDS:
        raise LimitExceeded(
            f"the query has {len(tokens)} words and signs, {MOST_WORDS} are allowed "
            "besides lists of numbers or texts after IN: put them into a table"
        )
    operations = sum(token.token_type in _OPERATIONS for token in tokens)
    if operations > MOST_OPERATIONS:
        raise LimitExceeded(
            f"{operations} set operations are too many, {MOST_OPERATIONS} are allowed"
        )
    depth = 0
    for token in tokens:
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        if depth > MOST_DEEP:
            raise LimitExceeded(
                f"{place(token)}more than {MOST_DEEP} brackets and CASEs in each "
                "other: take the query apart by WITH"
            )
        if len(token.text) > LONGEST_WORD and token.token_type != TokenType.STRING:
            raise LimitExceeded(
                f"{place(token)}a name or number of {len(token.text)} characters, "
                f"{LONGEST_WORD} are allowed"
            )
