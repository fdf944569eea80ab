"""What is heard must be what is said: nothing that a user writes is ignored.

sqlglot reads the words of many languages, and drops what it has no place for: a comma
at the end of a list, ``FINAL``, the ``x`` of ``* AS x``. So the tree says its words
again, by the rules below, and they must be the words of the text. A kind of node
without a rule is refused, and so is a part of a node that its rule does not say: the
rules are the grammar that is accepted.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from qserv.dialects import clauses, lexis, values
from qserv.dialects.lexis import Parts
from qserv.dialects.nodes import Joined, Plus
from qserv.errors import ParseError

__all__ = ["Joined", "Plus", "check"]

_RULES: Final = {**clauses.RULES, **values.RULES}


def check(tree: exp.Expr, text: str, tokens: Sequence[Token]) -> None:
    """Check that a tree says what the text says, in words that are accepted.

    Parameters
    ----------
    tree
        As parsed, before anything was rewritten.
    text, tokens
        What it was parsed from.

    Raises
    ------
    ParseError
        If a word of the text is not in the tree; says line and column.
    UnsupportedQuery
        If there is no rule for a kind of node.
    """
    heard = lexis.hear(text, tokens)
    said = _said(tree)
    # ``x NOT IN …`` and ``NOT x IN …`` are one tree, so NOT is only counted.
    left = iter([word for word in said if word != "NOT"])
    before = ""
    for word, token in heard:
        if (before, word) == ("NOT", "IS"):
            _misplaced(token)
        if word != "NOT" and not _follows(word, left):
            _misplaced(token)
        before = word
    nots = [word for word, _ in heard].count("NOT")
    if not _follows(None, left) or said.count("NOT") != nots:
        _misplaced(tokens[-1])


def _follows(word: str | None, said: Iterator[str]) -> bool:
    """Whether a word, or the end, is said next; words that may be left out may be."""
    for each in said:
        if each == word or (word is not None and each == lexis.maybe(word)):
            return True
        if not each.startswith("["):
            return False
    return word is None


def _misplaced(token: Token) -> NoReturn:
    place = lexis.place(token)
    raise ParseError(f"{place}this does not belong here, near «{token.text[:40]}»")


def _said(tree: exp.Expr) -> list[str]:
    """Say the words of a tree of any depth: a stack of what is still to be said."""
    said: list[str] = []
    stack: list[Iterator[Any]] = [iter((tree,))]
    while stack:
        for part in stack[-1]:
            if isinstance(part, str):
                said.append(part)
            elif part is not None:
                stack.append(iter(_parts(part)))
                break
        else:
            stack.pop()
    return said


def _parts(node: Any) -> Parts:
    if isinstance(node, list):
        return _parted(node)
    rule = _RULES.get(type(node))
    return values.refuse(node) if rule is None else rule(node)


def _parted(nodes: Sequence[Any]) -> Parts:
    for number, node in enumerate(nodes):
        yield "," if number else None
        yield node
