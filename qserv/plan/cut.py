"""Cut a part out of a SELECT, as a query of its own.

The part takes the terms with it that concern it alone, and gives the columns that the
rest needs; in the rest a relation stands for its rows.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from qserv.catalog.tables import Column, DataType
from qserv.plan.depth import rebuild, refs_of, relations_of
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Expression,
    Literal,
    conjunction,
    conjuncts,
)
from qserv.plan.functions import cast
from qserv.plan.query import JoinKind, Output, Relation, Select, StageRows, clauses

_TRUE: Final = Literal(True, DataType.BOOLEAN)


def component(body: Select, missing: Collection[int]) -> tuple[Relation, ...]:
    """Return the first missing relation, with the missing ones that it is joined to."""
    waiting = [r for r in body.relations if r.number in missing]
    first = next((r for r in waiting if r.join.is_inner), waiting[0])
    if not first.join.is_inner:
        return (first,)
    able = {r.number for r in waiting if r.join.is_inner}
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
    outer = not first.join.is_inner
    mine, other = _parted(conjuncts(first.condition if outer else body.where), numbers)
    condition = (conjunction(other) or _TRUE) if outer else None
    join = min((r.join for r in relations), key=lambda j: j is not JoinKind.FIRST)
    stand_in = Relation(number, first.alias, _rows(()), join, condition)
    kept = tuple(
        stand_in if r.number == first.number else r
        for r in body.relations
        if r.number == first.number or r.number not in numbers
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


@dataclass(frozen=True, slots=True)
class Halves:
    """A SELECT in two sides that an equality joins.

    Parameters
    ----------
    left, right
        The sides, each with the values that are equated among its columns.
    left_keys, right_keys
        These columns, in the same order.
    rest
        The SELECT over the rows of both.
    numbers
        Of the relations that stand for left and right in it.
    """

    left: Select
    right: Select
    left_keys: tuple[Column, ...]
    right_keys: tuple[Column, ...]
    rest: Select
    numbers: tuple[int, int]

    def joined(self, rows: Sequence[StageRows]) -> Select:
        """Return the rest over the rows of the stages of left and right."""
        sources = dict(zip(self.numbers, rows, strict=True))

        def found(relation: Relation) -> Relation:
            return replace(
                relation, source=sources.get(relation.number, relation.source)
            )

        made = rebuild(self.rest, lambda ref: ref, found)
        assert isinstance(made, Select), "rewriting keeps the shape"
        return made


def halves(
    body: Select, taken: tuple[Relation, ...], numbers: "count[int]"
) -> Halves | None:
    """Part a SELECT at the equalities between some relations and all others.

    Returns
    -------
    Halves or None
        None where no value of one side is equated to one of the other.
    """
    names = {r.number for r in taken}
    others = tuple(r for r in body.relations if r.number not in names)
    if not others or not others[0].join.is_inner:
        return None
    conditions = (r.condition for r in others if r.condition is not None)
    if any(relations_of(c) & names for c in conditions):
        return None
    outer = not taken[0].join.is_inner
    terms = conjuncts(taken[0].condition if outer else body.where)
    pairs = list(equated(terms, {r.number for r in others}, names))
    if not pairs:
        return None
    right, rest = cut(body, taken, number := next(numbers))
    left, rest, first = _rest_cut(rest, number, numbers)
    left, left_keys = with_keys(left, [keyed(a, b) for a, b in pairs])
    right, right_keys = with_keys(right, [keyed(b, a) for a, b in pairs])
    return Halves(
        left=left,
        right=right,
        left_keys=left_keys,
        right_keys=right_keys,
        rest=rest,
        numbers=(first, number),
    )


def equated(
    terms: Iterable[Expression], ours: set[int], theirs: set[int]
) -> Iterator[tuple[Expression, Expression]]:
    """Yield the values of our relations and of theirs that terms equate."""
    for term in terms:
        match term:
            case Call("=", (one, other)):
                for a, b in ((one, other), (other, one)):
                    left, right = relations_of(a), relations_of(b)
                    if left and right and left <= ours and right <= theirs:
                        yield a, b
            case _:
                pass


def with_keys(
    part: Select, values: Sequence[Expression]
) -> tuple[Select, tuple[Column, ...]]:
    """Give a side the values that are equated, those that it has not got yet."""
    known = {o.expression: o for o in part.outputs}
    for place, value in enumerate(values):
        fresh = Output(value, Column(f"h{place}", value.datatype))
        known.setdefault(value, fresh)
    outputs = dict.fromkeys((*part.outputs, *known.values()))
    keys = tuple(known[value].column for value in values)
    return replace(part, outputs=tuple(outputs)), keys


def keyed(mine: Expression, other: Expression) -> Expression:
    """Return a value in the type in which it is compared: equal values hash equal."""
    kinds = {mine.datatype, other.datatype}
    wide = DataType.BIGINT if all(k.is_integer for k in kinds) else DataType.DOUBLE
    kind = wide if len(kinds) > 1 else mine.datatype
    return cast(mine, kind)


def _rest_cut(
    body: Select, number: int, numbers: "count[int]"
) -> tuple[Select, Select, int]:
    """Cut all relations but one, with the joins between them."""
    only = next(r for r in body.relations if r.number == number)
    others = tuple(r for r in body.relations if r.number != number)
    names = {r.number for r in others}
    mine, other = _parted(conjuncts(body.where), names)
    first = next(numbers)
    stand_in = Relation(first, others[0].alias, _rows(()))
    joined = only if not only.join.is_inner else replace(only, join=JoinKind.INNER)
    rest = replace(body, relations=(stand_in, joined), where=conjunction(other))
    columns = _columns(rest, names)
    part = Select(
        relations=(replace(others[0], join=JoinKind.FIRST), *others[1:]),
        outputs=tuple(Output(ref, c) for ref, c in columns.items()),
        where=conjunction(mine),
    )

    def ref(node: ColumnRef) -> Expression:
        return ColumnRef(first, columns[node]) if node in columns else node

    changed = rebuild(rest, ref)
    assert isinstance(changed, Select), "rewriting keeps the shape"
    return part, changed, first
