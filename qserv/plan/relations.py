"""Prove that a query can be answered chunk by chunk, or refuse it.

A chunk is answered from what lies beside it on its worker: the *own* rows of every
table whose home it is, the *overlap* rows of its director tables (every row within the
overlap radius of any point of the chunk, from other chunks), and whole replicated
tables. The union over chunks is the answer if each row of the answer arises in exactly
one chunk, with all it needs. So one partitioned relation, the **anchor**, is read from
own rows, which are in exactly one chunk each, and every other relation must be *local*
to it:

``Object o JOIN Source s ON s.objectId = o.objectId``
    Both hold the same director key, so matching rows have the same home. Own rows
    join own rows. The same through any chain of such equalities.

``Object a JOIN Object b ON DISTANCE(a.…, b.…) < r``
    A row of ``b`` within r of an own row of ``a`` lies within r + δ of the chunk, where
    δ is how far a's own rows lie outside it. If r + δ is at most the overlap radius,
    then b's own and overlap rows hold every partner. Along a chain a-b-c the radii
    add up. The copy must be the one stored beside a's chunk (``_chunk`` is equal),
    since a batch holds the overlap of several chunks.

``… JOIN Filter f``
    A replicated table is whole everywhere. But ``Filter f LEFT JOIN Source s`` would
    null-extend f in each chunk again: a replicated table may only be on the
    null-extended side.

``a LEFT JOIN b ON …``
    Local under the same conditions, if they stand in ON: what WHERE says is true only
    after null rows were added. The anchor is never null-extended.

What is joined to a neighbour (``Source s`` of ``b`` above) has its home where b has
its own, which may be another chunk: that is refused, and is work for an exchange.
"""

from collections.abc import Iterator
from dataclasses import replace

from qserv.catalog.tables import TableKind
from qserv.errors import UnsupportedQuery
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Expression,
    Near,
    Position,
    conjuncts,
)
from qserv.plan.plan import Extent
from qserv.plan.query import JoinKind, Neighbours, Query, Relation

_ARCSEC = 3600


def relations(query: Query) -> Query:
    """Decide which rows each relation reads, so that every chunk answers alone.

    ``FROM Object a, Object b WHERE DISTANCE(…) < 0.01`` makes b read own and overlap
    rows.

    Raises
    ------
    UnsupportedQuery
        If no such decision is proven exact; says which table and why.
    """
    partitioned = [r for r in query.relations if r.version.table.partitioned]
    if not partitioned:
        placed = tuple(replace(r, extent=Extent.COPY) for r in query.relations)
        note = "relations  replicated tables alone: one worker answers"
        return replace(query, relations=placed, notes=(*query.notes, note))
    families = {query.snapshot.release(r.version.release).family for r in partitioned}
    if len(families) > 1:
        several = " and ".join(sorted(families))
        raise UnsupportedQuery(
            f"joins across the families {several} are not answered yet"
        )
    family = query.snapshot.families[families.pop()]
    query = replace(query, family=family)
    attempts = [
        _Attempt(query, anchor, family.overlap)
        for anchor in partitioned
        if anchor.join is not JoinKind.LEFT
    ]
    if not attempts:
        raise UnsupportedQuery(
            "a LEFT JOIN of a replicated table with a partitioned one is not answered "
            "yet: exchange the tables if the partitioned one is to be kept whole"
        )
    for attempt in attempts:
        if attempt.proven():
            return attempt.decided()
    raise UnsupportedQuery(attempts[0].refusal())


class _Attempt:
    """The proof for one choice of the anchor."""

    def __init__(self, query: Query, anchor: Relation, overlap: float) -> None:
        self._query = query
        self._overlap = overlap
        self._pool = conjuncts(query.where)
        self._placed = {anchor.number: replace(anchor, reach=_offset(anchor))}
        self._anchor = anchor
        self._edges: list[Neighbours] = []
        self._reason = ""

    def proven(self) -> bool:
        """Place relations until none is left or none can be placed."""
        while waiting := [
            r for r in self._query.relations if r.number not in self._placed
        ]:
            placed = next(filter(None, map(self._place, waiting)), None)
            if placed is None:
                return False
            self._placed[placed.number] = placed
        return True

    def decided(self) -> Query:
        """Return the query with what was proven."""
        found = tuple(self._placed[r.number] for r in self._query.relations)
        note = "relations  " + "; ".join(self._describe(r) for r in found)
        return replace(
            self._query,
            relations=found,
            neighbours=tuple(self._edges),
            notes=(*self._query.notes, note),
        )

    def refusal(self) -> str:
        """Say why the proof failed."""
        left = [r for r in self._query.relations if r.number not in self._placed]
        names = ", ".join(f"{r.version.table.name} {r.alias}" for r in left)
        why = self._reason or (
            f"{names} is joined neither by its director key nor as a near neighbour"
            f" of {self._anchor.alias}"
        )
        return f"this join is not answered yet: {why}"

    def _place(self, relation: Relation) -> Relation | None:
        if not relation.version.table.partitioned:
            return self._place_copy(relation)
        conditions = self._conditions(relation)
        if self._follows_key(relation, conditions):
            return replace(relation, extent=Extent.OWN, reach=_offset(relation))
        return self._place_neighbour(relation, conditions)

    def _place_copy(self, relation: Relation) -> Relation:
        return replace(relation, extent=Extent.COPY)

    def _conditions(self, relation: Relation) -> tuple[Expression, ...]:
        if relation.join is JoinKind.LEFT:
            return conjuncts(relation.condition)
        return self._pool

    def _follows_key(
        self, relation: Relation, conditions: tuple[Expression, ...]
    ) -> bool:
        """Whether an own relation has the same director key by equality."""
        mine = _key(relation)
        for left, right in _equalities(conditions):
            for ours, theirs in ((left, right), (right, left)):
                other = self._placed.get(theirs.relation)
                if ours != mine or other is None or theirs != _key(other):
                    continue
                if other.extent is Extent.OWN and _director(other) == _director(
                    relation
                ):
                    return True
                if other.extent is Extent.OWN_AND_OVERLAP:
                    self._reason = (
                        f"{relation.alias} follows {other.alias}, a neighbour whose own"
                        " rows may be in another chunk"
                    )
        return False

    def _place_neighbour(
        self, relation: Relation, conditions: tuple[Expression, ...]
    ) -> Relation | None:
        """Place a relation that is near one that is placed, if the overlap reaches."""
        for near in conditions:
            if not isinstance(near, Near):
                continue
            other = self._other_side(near, relation)
            if other is None:
                continue
            reach = other.reach + near.radius
            if not self._reaches(relation, other, near, reach):
                continue
            edge = Neighbours(other.number, relation.number, near.radius)
            self._edges.append(edge)
            return replace(relation, extent=Extent.OWN_AND_OVERLAP, reach=reach)
        return None

    def _other_side(self, near: Near, relation: Relation) -> Relation | None:
        for ours, theirs in ((near.first, near.second), (near.second, near.first)):
            if ours == relation.position:
                return self._at(theirs)
        return None

    def _at(self, position: Position) -> Relation | None:
        """Return the placed relation whose own position that is."""
        for relation in self._placed.values():
            if relation.extent is not Extent.COPY and relation.position == position:
                return relation
        return None

    def _reaches(
        self, relation: Relation, other: Relation, near: Near, reach: float
    ) -> bool:
        table = relation.version.table
        if table.kind is not TableKind.DIRECTOR:
            self._reason = (
                f"{relation.alias} is a near neighbour of {other.alias}, and only "
                f"director tables have overlap; {table.name} is a {table.kind} table"
            )
        elif _offset(relation) > 0:
            self._reason = (
                f"positions of {table.name} were refined after its first load"
            )
        elif reach > self._overlap:
            self._reason = (
                f"{relation.alias} is within {near.radius * _ARCSEC:.6g} arcsec of "
                f"{other.alias}, which reaches {reach * _ARCSEC:.6g} arcsec outside a "
                f"chunk; the overlap is {self._overlap * _ARCSEC:.6g} arcsec"
            )
        else:
            return True
        return False

    def _describe(self, relation: Relation) -> str:
        version = relation.version
        name = f"{version.release}.{version.table.name}"
        what = f"{relation.alias} = {relation.extent} {name}"
        edge = next((e for e in self._edges if e.right == relation.number), None)
        if edge is None:
            return what
        other = self._query.relations[edge.left].alias
        return f"{what} within {edge.radius * _ARCSEC:.6g} arcsec of {other}"


def _offset(relation: Relation) -> float:
    offset = relation.version.offset
    return float("inf") if offset is None else offset


def _key(relation: Relation) -> ColumnRef | None:
    key = relation.version.table.key
    return None if key is None else relation.ref(key)


def _director(relation: Relation) -> tuple[str, str]:
    table = relation.version.table
    return relation.version.release, (table.director or table.name).lower()


def _equalities(
    conditions: tuple[Expression, ...],
) -> Iterator[tuple[ColumnRef, ColumnRef]]:
    for condition in conditions:
        if isinstance(condition, Call) and condition.function == "=":
            left, right = condition.arguments
            if isinstance(left, ColumnRef) and isinstance(right, ColumnRef):
                yield left, right
