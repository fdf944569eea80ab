"""Find the areas and director keys that limit the chunks.

``WHERE CONTAINS(POINT(o.ra, o.dec), CIRCLE(10, 20, 0.1)) = 1`` limits a query to the
chunks that the circle touches; ``WHERE s.objectId = 7`` to the home of object 7. Only
what must hold for every row of the answer counts: the terms of WHERE. The exact
predicate stays in the SQL, so pruning never changes an answer.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from qserv.catalog.tables import TableKind
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Expression,
    InList,
    InPolygon,
    Literal,
    Near,
    Position,
    conjuncts,
)
from qserv.plan.plan import AreaRestrictor, Extent, KeyRestrictor, Restrictor
from qserv.plan.query import Query, Relation
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import Circle, dilate

MOST_RANGES: Final = 16
"""Ranges in one SQL conjunct; more cost DuckDB more than they prune."""


def restrict(query: Query) -> Query:
    """Collect the restrictors, and the ranges that the homes of rows must lie in."""
    if query.family is None:
        return query
    terms = conjuncts(query.where)
    keys = tuple(k for term in terms for k in _keys(query, term))
    covers = _spread(query, _covers(query, terms))
    areas = tuple(
        AreaRestrictor(cover, query.relations[number].reach)
        for number, cover in covers.items()
    )
    found: tuple[Restrictor, ...] = (*keys, *areas)
    if not found:
        return query
    notes = (*query.notes, "restrict   " + "; ".join(map(_describe, found)))
    ranges = tuple(
        (number, _homes(query.relations[number], cover))
        for number, cover in covers.items()
    )
    return replace(query, restrictors=found, ranges=ranges, notes=notes)


def _describe(restrictor: Restrictor) -> str:
    match restrictor:
        case KeyRestrictor():
            return f"{len(restrictor.keys)} keys of {restrictor.table}"
        case AreaRestrictor():
            return f"an area of {len(restrictor.ranges)} ranges"
        case _:
            return "keys"


def _covers(query: Query, terms: Iterable[Expression]) -> dict[int, RangeSet]:
    covers: dict[int, RangeSet] = {}
    for term in terms:
        for position, cover in _areas(term):
            for relation in query.relations:
                if relation.position == position and _prunable(relation):
                    known = covers.get(relation.number)
                    both = cover if known is None else known & cover
                    covers[relation.number] = both
    return covers


def _prunable(relation: Relation) -> bool:
    return relation.extent is not Extent.COPY and math.isfinite(relation.reach)


def _areas(term: Expression) -> Iterable[tuple[Position, RangeSet]]:
    match term:
        case Near(radius=radius) if radius < 0:
            yield from ((p, RangeSet.nothing()) for p in (term.first, term.second))
        case Near():
            radius = min(term.radius, 180.0)
            for position, other in (
                (term.first, term.second.constant),
                (term.second, term.first.constant),
            ):
                if other is not None:
                    yield position, Circle(*other, radius).cover()
        case InPolygon():
            yield term.position, term.polygon.cover()
        case _:
            return


def _spread(query: Query, covers: dict[int, RangeSet]) -> dict[int, RangeSet]:
    """Let an area on one side of a near-neighbour join limit the other, dilated."""
    for edge in query.neighbours:
        sides = ((edge.left, edge.right), (edge.right, edge.left))
        for known, other in sides:
            if (cover := covers.get(known)) is None:
                continue
            near = dilate(cover, edge.radius)
            covers[other] = covers[other] & near if other in covers else near
    return covers


def _homes(relation: Relation, cover: RangeSet) -> tuple[tuple[int, int], ...]:
    """Return ranges of `_healpix_29`, which is the home: δ away from the position."""
    offset = relation.version.offset or 0.0
    homes = dilate(cover, offset) if offset else cover
    if homes.is_empty:
        return ()
    simple = homes.simplify(MOST_RANGES).bounds
    return tuple((int(low), int(high)) for low, high in simple)


def _keys(query: Query, term: Expression) -> Iterable[KeyRestrictor]:
    match term:
        case Call("=", (ColumnRef() as column, Literal() as value)):
            items: tuple[Expression, ...] = (value,)
        case Call("=", (Literal() as value, ColumnRef() as column)):
            items = (value,)
        case InList(ColumnRef() as column, listed):
            items = listed
        case _:
            return
    relation = query.relations[column.relation]
    keys = [i.value for i in items if isinstance(i, Literal)]
    if len(keys) == len(items) and _indexed(query, relation, column, keys):
        yield KeyRestrictor(
            relation.version.release,
            _director_name(relation),
            tuple(dict.fromkeys(k for k in keys if isinstance(k, (int, str)))),
        )


def _indexed(
    query: Query, relation: Relation, column: ColumnRef, keys: Sequence[object]
) -> bool:
    """Whether the director index can turn these keys into the homes of the rows."""
    table = relation.version.table
    if relation.extent is not Extent.OWN or table.key is None:
        return False
    if column != relation.ref(table.key):
        return False
    wanted = int if column.datatype.is_integer else str
    if any(type(k) is not wanted for k in keys):
        return False
    director = query.snapshot.table(relation.version.release, _director_name(relation))
    return bool(director.index)


def _director_name(relation: Relation) -> str:
    table = relation.version.table
    if table.kind is TableKind.DIRECTOR:
        return table.name
    return table.director or table.name
