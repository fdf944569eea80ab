"""Find the areas and director keys that limit the chunks.

``WHERE CONTAINS(POINT(o.ra, o.dec), CIRCLE(10, 20, 0.1)) = 1`` limits a query to the
chunks that the circle touches, and so does any other phrasing of an area
(`qserv.plan.area`); ``WHERE s.objectId = 7`` to the home of object 7, and so does ``IN
(SELECT …)``, once its keys are found. Only what must hold for every row of the answer
counts: the terms of WHERE. The exact predicate stays in the SQL, so pruning never
changes an answer. NOT IN never limits.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from qserv.catalog.snapshot import Snapshot
from qserv.plan.area import area
from qserv.plan.plan import (
    AreaRestrictor,
    EitherRestrictor,
    Extent,
    FoundRestrictor,
    KeyRangeRestrictor,
    KeyRestrictor,
    Restrictor,
)
from qserv.plan.query import Body, Combined, JoinKind, Operator, Relation, Select
from qserv.plan.seek import sought
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import dilate

MOST_RANGES: Final = 16
"""Ranges in one SQL conjunct; more cost DuckDB more than they prune."""

Restrictors = tuple[Restrictor, ...]
Bounds = tuple[tuple[int, int], ...]


def restrict(body: Body, snapshot: Snapshot) -> tuple[Body, Restrictors]:
    """Find what limits the chunks of a placed query.

    Returns
    -------
    body
        With the ranges that the homes of rows must lie in.
    restrictors
        All of them hold for every row.
    """
    if isinstance(body, Combined):
        return _combined(body, snapshot)
    relations: list[Relation] = []
    inner: list[Restrictor] = []
    for relation in body.relations:
        changed, limits = _inside(relation, snapshot)
        relations.append(changed)
        inner += limits if relation.join in _KEPT else ()
    body = replace(body, relations=tuple(relations))
    covers = _spread(body, dict(_covers(body)))
    by_number = {r.number: r for r in body.relations}
    areas = [AreaRestrictor(c, by_number[n].reach) for n, c in covers.items()]
    homes = {n: _homes(by_number[n], cover) for n, cover in covers.items()}
    ranges = tuple(_followed(body, homes).items())
    found = dict.fromkeys([*sought(body, snapshot), *areas, *inner])
    return replace(body, ranges=ranges), tuple(found)


_KEPT: Final = {JoinKind.FIRST, JoinKind.INNER}


def _inside(relation: Relation, snapshot: Snapshot) -> tuple[Relation, Restrictors]:
    if not isinstance(relation.source, Body):
        return relation, ()
    body, found = restrict(relation.source, snapshot)
    return replace(relation, source=body), found


def _combined(body: Combined, snapshot: Snapshot) -> tuple[Body, Restrictors]:
    (left, ours), (right, theirs) = (
        restrict(side, snapshot) for side in (body.left, body.right)
    )
    made = replace(body, left=left, right=right)
    match body.operator:
        case Operator.UNION:
            either = (EitherRestrictor((ours, theirs)),) if ours and theirs else ()
            return made, either
        case Operator.EXCEPT:
            return made, ours
        case Operator.INTERSECT:
            return made, (*ours, *theirs)


def describe(restrictors: Restrictors) -> str:
    """Say what limits the chunks, for EXPLAIN."""
    return "; ".join(map(_describe, restrictors))


def _describe(restrictor: Restrictor) -> str:
    match restrictor:
        case KeyRestrictor():
            return f"{len(restrictor.keys)} keys of {restrictor.table}"
        case KeyRangeRestrictor():
            return f"keys {restrictor.low} to {restrictor.high} of {restrictor.table}"
        case FoundRestrictor():
            return f"keys of {restrictor.table} that stage {restrictor.stage} found"
        case AreaRestrictor():
            return f"an area of {len(restrictor.ranges)} ranges"
        case EitherRestrictor():
            parts = (describe(a) for a in restrictor.alternatives)
            return f"either {' or '.join(parts)}"


def _covers(body: Select) -> Iterator[tuple[int, RangeSet]]:
    for relation in body.relations:
        position = relation.position
        if position is None or not _prunable(relation):
            continue
        if (cover := area(body.where, position)) is not None:
            yield relation.number, cover


def _prunable(relation: Relation) -> bool:
    return relation.extent is not Extent.COPY and math.isfinite(relation.reach)


def _spread(body: Select, covers: dict[int, RangeSet]) -> dict[int, RangeSet]:
    """Let an area on one side of a near-neighbour join limit the other, dilated."""
    inside = {r.number for r in body.relations if _prunable(r)}
    for edge in body.neighbours:
        sides = ((edge.left, edge.right), (edge.right, edge.left))
        for known, other in sides:
            if (cover := covers.get(known)) is None or other not in inside:
                continue
            near = dilate(cover, edge.radius)
            covers[other] = covers[other] & near if other in covers else near
    return covers


def _followed(body: Select, homes: dict[int, Bounds]) -> dict[int, Bounds]:
    """Let the homes of rows limit those that join them by director key."""
    found = dict(homes)
    for relation in body.relations:
        known = found.get(relation.leader) if relation.leader is not None else None
        stored = relation.stored is not None and relation.number not in found
        if known is not None and stored:
            found[relation.number] = known
    return found


def _homes(relation: Relation, cover: RangeSet) -> Bounds:
    """Return ranges of `_healpix_29`, which is the home: δ away from the position."""
    stored = relation.stored
    offset = 0.0 if stored is None else stored.offset or 0.0
    homes = dilate(cover, offset) if offset else cover
    if homes.is_empty:
        return ()
    simple = homes.simplify(MOST_RANGES).bounds
    return tuple((int(low), int(high)) for low, high in simple)
