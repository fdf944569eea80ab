"""Cut a part out of a SELECT, as a query of its own.

The part takes the terms with it that concern it alone, and gives the columns that the
rest needs; in the rest a relation stands for its rows.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from qserv.catalog.tables import Column, DataType
from qserv.plan.expressions import (
    ColumnRef,
    Expression,
    Literal,
    conjunction,
    conjuncts,
)
from qserv.plan.query import (
    JoinKind,
    Output,
    Relation,
    Select,
    StageRows,
    clauses,
    rebuild,
    refs_of,
    relations_of,
)

_KEPT: Final = {JoinKind.FIRST, JoinKind.INNER}
_TRUE: Final = Literal(True, DataType.BOOLEAN)


def component(body: Select, missing: Collection[int]) -> tuple[Relation, ...]:
    """Return the first missing relation, with the missing ones that it is joined to."""
    waiting = [r for r in body.relations if r.number in missing]
    first = next((r for r in waiting if r.join in _KEPT), waiting[0])
    if first.join not in _KEPT:
        return (first,)
    able = {r.number for r in waiting if r.join in _KEPT}
    terms = [relations_of(t) for t in conjuncts(body.where)]
    joined = [t for t in terms if t <= able]
    found, size = {first.number}, 0
    while len(found) > size:
        size = len(found)
        found.update(*(t for t in joined if t & found))
    return tuple(r for r in waiting if r.number in found)


def cut(
    body: Select, relations: tuple[Relation, ...], number: int
) -> tuple[Select, Select]:
    """Cut relations out of a SELECT.

    Parameters
    ----------
    body
        The SELECT.
    relations
        One of any kind, or several that are not null-extended.
    number
        Of the relation that stands for them; its rows are yet to be made.

    Returns
    -------
    part, rest
        The query of these relations, and the SELECT without them.
    """
    numbers = {r.number for r in relations}
    first = relations[0]
    outer = first.join not in _KEPT
    mine, other = _parted(conjuncts(first.condition if outer else body.where), numbers)
    condition = (conjunction(other) or _TRUE) if outer else None
    join = min((r.join for r in relations), key=lambda j: j is not JoinKind.FIRST)
    stand_in = Relation(number, first.alias, _rows(()), join, condition)
    kept = tuple(
        stand_in if r is first else r
        for r in body.relations
        if r is first or r.number not in numbers
    )
    rest = replace(
        body, relations=kept, where=body.where if outer else conjunction(other)
    )
    columns = _columns(rest, numbers)
    part = Select(
        relations=tuple(_joined(r, place) for place, r in enumerate(relations)),
        outputs=tuple(Output(ref, c) for ref, c in columns.items()) or _some(first),
        where=conjunction(mine),
    )

    def ref(node: ColumnRef) -> Expression:
        return ColumnRef(number, columns[node]) if node in columns else node

    def place(relation: Relation) -> Relation:
        if relation.number != number:
            return relation
        return replace(relation, source=_rows(part.columns))

    changed = rebuild(rest, ref, place)
    assert isinstance(changed, Select), "rewriting keeps the shape"
    return part, changed


def _rows(columns: tuple[Column, ...]) -> StageRows:
    return StageRows(-1, columns, 0.0)


def _parted(
    terms: Iterable[Expression], numbers: Collection[int]
) -> tuple[tuple[Expression, ...], tuple[Expression, ...]]:
    """Part the terms into those that concern these relations alone, and the others."""
    mine: list[Expression] = []
    other: list[Expression] = []
    for term in terms:
        used = relations_of(term)
        (mine if used and used <= set(numbers) else other).append(term)
    return tuple(mine), tuple(other)


def _columns(rest: Select, numbers: Collection[int]) -> dict[ColumnRef, Column]:
    refs = dict.fromkeys(
        ref for c in clauses(rest) for ref in refs_of(c) if ref.relation in numbers
    )
    return {
        ref: replace(ref.column, name=f"c{place}") for place, ref in enumerate(refs)
    }


def _some(relation: Relation) -> tuple[Output, ...]:
    """Return an output of a part whose rows matter, and none of its columns."""
    column = relation.columns[0]
    return (Output(ColumnRef(relation.number, column), replace(column, name="c0")),)


def _joined(relation: Relation, place: int) -> Relation:
    join = JoinKind.INNER if place else JoinKind.FIRST
    return replace(relation, join=join, condition=None)
