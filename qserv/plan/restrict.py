"""Find the areas and director keys that limit the chunks.

``WHERE CONTAINS(POINT(o.ra, o.dec), CIRCLE(10, 20, 0.1)) = 1`` limits a query to the
chunks that the circle touches, and so does any other phrasing of an area
(`qserv.plan.area`); ``WHERE s.objectId = 7`` to the home of object 7, and so does ``IN
(SELECT …)``, once its keys are found. Only what must hold for every row of the answer
counts: the terms of WHERE, of an OR each side. A row for which an inner row must exist
(``EXISTS``, ``IN``) is in a chunk that has such a row, so what limits the inner query
limits the outer one, if that inner row is beside it. The exact predicate stays in the
SQL, so pruning never changes an answer. NOT IN never limits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qserv.catalog.snapshot import Snapshot
from qserv.plan.area import area
from qserv.plan.expressions import (
    Call,
    Exists,
    Expression,
    InQuery,
    conjuncts,
)
from qserv.plan.plan import (
    AreaRestrictor,
    EitherRestrictor,
    Extent,
    FoundRestrictor,
    KeyRangeRestrictor,
    KeyRestrictor,
    Restrictor,
)
from qserv.plan.query import (
    Body,
    Combined,
    Operator,
    Relation,
    Select,
    map_subqueries,
)
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
        inner += limits if relation.join.is_inner else ()
    body = replace(body, relations=tuple(relations))
    finder = _Finder(body, snapshot)
    where, found = finder.where()
    body = replace(body, where=where, ranges=finder.ranges())
    return body, tuple(dict.fromkeys([*found, *inner]))


def _inside(relation: Relation, snapshot: Snapshot) -> tuple[Relation, Restrictors]:
    if not isinstance(relation.source, Body):
        return relation, ()
    body, found = _read(relation.source, snapshot)
    return replace(relation, source=body), found


def _read(body: Body, snapshot: Snapshot) -> tuple[Body, Restrictors]:
    """Restrict a query inside of another: what limits it where it must have a row."""
    made, found = restrict(body, snapshot)
    # A SELECT of one group has a row where it finds none.
    always = isinstance(body, Select) and body.grouped and not body.groups
    return made, () if always else found


def _combined(body: Combined, snapshot: Snapshot) -> tuple[Body, Restrictors]:
    (left, ours), (right, theirs) = (
        _read(side, snapshot) for side in (body.left, body.right)
    )
    made = replace(body, left=left, right=right)
    match body.operator:
        case Operator.UNION:
            return made, _either([ours, theirs])
        case Operator.EXCEPT:
            return made, ours
        case Operator.INTERSECT:
            return made, (*ours, *theirs)


def _either(alternatives: Sequence[Restrictors]) -> Restrictors:
    """Return what limits where one of several limits does; keys become one list."""
    if not all(alternatives):
        return ()
    keys: dict[KeyRestrictor, tuple[int | str, ...]] = {}
    rest: list[Restrictors] = []
    for each in dict.fromkeys(alternatives):
        match each:
            case (KeyRestrictor() as only,):
                kind = replace(only, keys=())
                keys[kind] = (*keys.get(kind, ()), *only.keys)
            case _:
                rest.append(each)
    merged = [
        (replace(kind, keys=tuple(dict.fromkeys(listed))),)
        for kind, listed in keys.items()
    ]
    several = (*merged, *rest)
    return several[0] if len(several) == 1 else (EitherRestrictor(several),)


def describe(restrictors: Restrictors) -> str:
    """Say what limits the chunks, for EXPLAIN."""
    return "; ".join(map(_describe, restrictors))


def _describe(restrictor: Restrictor) -> str:
    match restrictor:
        case KeyRestrictor():
            count = len(restrictor.keys)
            keys = f"{count} key{'' if count == 1 else 's'} of {restrictor.table}"
        case KeyRangeRestrictor():
            keys = f"keys {restrictor.low} to {restrictor.high} of {restrictor.table}"
        case FoundRestrictor():
            keys = f"keys of {restrictor.table} that stage {restrictor.stage} found"
        case AreaRestrictor():
            return f"an area of {len(restrictor.ranges)} ranges"
        case EitherRestrictor():
            return f"either {' or '.join(map(_together, restrictor.alternatives))}"
    reach = f" within {restrictor.reach * 3600:.6g} arcsec" if restrictor.reach else ""
    return f"{keys}{reach}"


def _together(restrictors: Restrictors) -> str:
    said = " and ".join(map(_describe, restrictors))
    return said if len(restrictors) == 1 else f"({said})"


@dataclass(frozen=True, slots=True)
class _Areas:
    """Where rows lie, by the number of their relation."""

    positions: dict[int, RangeSet]
    homes: dict[int, RangeSet]

    def __bool__(self) -> bool:
        return bool(self.positions or self.homes)


class _Finder:
    """Finds what limits the chunks in the WHERE of a SELECT.

    Parameters
    ----------
    body
        With its relations placed, and restricted inside.
    snapshot
        Knows which tables have an index.
    """

    def __init__(self, body: Select, snapshot: Snapshot) -> None:
        self._body, self._snapshot = body, snapshot
        self._relations = {r.number: r for r in body.relations}
        self._terms = conjuncts(body.where)
        areas = self._areas(body.where)
        self._known = replace(areas, positions=_spread(body, areas.positions))

    def where(self) -> tuple[Expression | None, Restrictors]:
        """Return WHERE with the queries in it restricted, and all that limits."""
        areas = self._limits(self._known)
        if self._body.where is None:
            return None, areas
        where, found = self._all(self._body.where)
        return where, (*found, *areas)

    def ranges(self) -> tuple[tuple[int, Bounds], ...]:
        """Return the ranges that homes must lie in, by the number of the relation."""
        known = self._known
        numbers = dict.fromkeys([*known.positions, *known.homes])
        homes = {n: _homes(self._relations[n], known) for n in numbers}
        return tuple(_followed(self._body, homes).items())

    def _areas(self, where: Expression | None) -> "_Areas":
        positions: dict[int, RangeSet] = {}
        homes: dict[int, RangeSet] = {}
        for relation in self._body.relations:
            number = relation.number
            if (here := _area(where, relation)) is not None:
                positions[number] = here
            if (home := _home_area(where, relation)) is not None:
                homes[number] = home
        return _Areas(positions, homes)

    def _limits(self, areas: "_Areas") -> Restrictors:
        by_number = self._relations
        positions, homes = areas.positions.items(), areas.homes.items()
        return (
            *(AreaRestrictor(c, by_number[n].reach) for n, c in positions),
            *(AreaRestrictor(c, by_number[n].home_reach) for n, c in homes),
        )

    def _all(self, node: Expression) -> tuple[Expression, Restrictors]:
        """Restrict by terms that must all hold, but for their areas."""
        terms = conjuncts(node)
        made = [self._term(term) for term in terms]
        keys = sought(terms, self._terms, self._relations, self._snapshot)
        found = (limit for _, limits in made for limit in limits)
        return _refilled(node, "AND", (t for t, _ in made)), (*keys, *found)

    def _term(self, term: Expression) -> tuple[Expression, Restrictors]:
        match term:
            case Exists() | InQuery():
                body, found = _read(term.body, self._snapshot)
                return replace(term, body=body), found
            case Call("OR"):
                return self._or(term)
            case _:
                return map_subqueries(term, self._elsewhere), ()

    def _elsewhere(self, body: Body) -> Body:
        """Restrict a query that may have no row: it limits nothing around it."""
        return restrict(body, self._snapshot)[0]

    def _or(self, node: Call) -> tuple[Expression, Restrictors]:
        parts = _disjuncts(node)
        made = [self._all(part) for part in parts]
        whole = _refilled(node, "OR", (t for t, _ in made))
        if self._known and not any(found for _, found in made):
            # The area of the whole OR is known already.
            return whole, ()
        limits = [
            found or self._limits(self._areas(part))
            for part, (_, found) in zip(parts, made, strict=True)
        ]
        return whole, _either(limits)


def _disjuncts(node: Expression) -> tuple[Expression, ...]:
    """Take a predicate apart at its ORs, in the order of the text."""
    found: list[Expression] = []
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Call) and part.function == "OR":
            waiting += reversed(part.arguments)
        else:
            found.append(part)
    return tuple(found)


def _refilled(
    node: Expression, function: str, parts: Iterator[Expression]
) -> Expression:
    """Put parts, in order, where those of a chain of AND or of OR stood."""
    if isinstance(node, Call) and node.function == function:
        given = (_refilled(part, function, parts) for part in node.arguments)
        return replace(node, arguments=tuple(given))
    return next(parts)


def _area(where: Expression | None, relation: Relation) -> RangeSet | None:
    """Return where positions lie, and homes too if they are the same."""
    if relation.position is None or not _prunable(relation):
        return None
    same = relation.number if relation.at_home else None
    return area(where, relation.position, same)


def _home_area(where: Expression | None, relation: Relation) -> RangeSet | None:
    """Return where homes lie that are not the positions of their rows."""
    stored = relation.stored is not None and relation.extent is not Extent.COPY
    if relation.at_home or not stored or not math.isfinite(relation.home_reach):
        return None
    return area(where, None, relation.number)


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


def _homes(relation: Relation, areas: _Areas) -> Bounds:
    """Return ranges of `_healpix_29`, which is the home: δ away from the position."""
    homes = areas.homes.get(relation.number, RangeSet.everything())
    if (cover := areas.positions.get(relation.number)) is not None:
        stored = relation.stored
        homes &= dilate(cover, 0.0 if stored is None else stored.offset or 0.0)
    if homes.is_empty:
        return ()
    simple = homes.simplify(MOST_RANGES).bounds
    return tuple((int(low), int(high)) for low, high in simple)
