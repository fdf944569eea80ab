"""Make an outer join inner where WHERE drops the rows that only it keeps."""

from dataclasses import replace
from typing import Final

from qserv.plan.expressions import (
    Call,
    Cast,
    ColumnRef,
    Expression,
    InList,
    InMoc,
    InPolygon,
    InQuery,
    InValues,
    Near,
    Pixel,
    conjunction,
    conjuncts,
)
from qserv.plan.query import JoinKind, Select

_STRICT: Final = {"FINITE", "NEGATE", "+", "-", "*", "/", "//"}
"""Functions that are NULL if an argument is."""
_REJECTING: Final = {"=", "<>", "<", ">", "<=", ">=", "BETWEEN", "LIKE", "ILIKE"}


def rejecting(body: Select) -> Select:
    """Make LEFT joins inner whose null rows WHERE drops."""
    terms = conjuncts(body.where)
    for place, relation in enumerate(body.relations):
        if relation.join is not JoinKind.LEFT:
            continue
        if any(rejects(term, relation.number) for term in terms):
            terms = (*terms, *conjuncts(relation.condition))
            inner = replace(relation, join=JoinKind.INNER, condition=None)
            before, after = body.relations[:place], body.relations[place + 1 :]
            body = replace(body, relations=(*before, inner, *after))
    return replace(body, where=conjunction(terms))


def rejects(term: Expression, relation: int) -> bool:
    """Whether a predicate is never true of a row in which that relation is NULL."""
    match term:
        case Call("OR", sides):
            return all(rejects(side, relation) for side in sides)
        case Call("AND", sides):
            return any(rejects(side, relation) for side in sides)
        case Call(function, arguments) if function in _REJECTING:
            parts = arguments
        case Call("NOT", (Call("IS NULL", arguments),)):
            parts = arguments
        case InList(argument) | InValues(argument) | InQuery(argument):
            parts = (argument,)
        case Near():
            parts = (term.first.lon, term.second.lon)
        case InPolygon():
            parts = (term.position.lon,)
        case InMoc():
            parts = (term.pixel,)
        case _:
            return False
    return any(_is_null(part, relation) for part in parts)


def _is_null(value: Expression, relation: int) -> bool:
    """Whether a value is NULL in a row in which that relation is."""
    match value:
        case ColumnRef():
            return value.relation == relation
        case Cast(argument):
            return _is_null(argument, relation)
        case Pixel():
            return _is_null(value.position.lon, relation)
        case Call(function, arguments) if function in _STRICT:
            return any(_is_null(a, relation) for a in arguments)
        case _:
            return False
