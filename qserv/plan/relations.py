"""Prove that a SELECT can be answered chunk by chunk, or say what is in the way.

A chunk is answered from what lies beside it on its worker: the *own* rows of every
table whose home it is, the *overlap* rows of its director tables (every row within the
table's overlap radius of any point of the chunk, from others), and whole *copies*:
replicated tables, and the rows of earlier stages. The union over chunks is the answer
if each row of the answer arises in exactly one chunk, with all it needs. So one
partitioned relation, the **anchor**, is read from own rows, which are in exactly one
chunk each, and every other relation must be *local* to it:

``Object o JOIN Source s ON s.objectId = o.objectId``
    Both hold the same director key, so matching rows have the same home. Own rows
    join own rows. The same through any chain of equalities without conversion, and for
    a subquery that gives the director key as a column.

``Object a JOIN Object b ON DISTANCE(a.…, b.…) < r``
    A row of ``b`` within r of an own row of ``a`` lies within r + δ of the chunk, where
    δ is how far a's own rows lie outside it. If r + δ is at most b's overlap radius,
    then b's own and overlap rows hold every partner. Along a chain a-b-c the radii
    add up. The copy must be the one stored beside a's chunk (``_chunk`` is equal),
    since a batch holds the overlap of several chunks.

``Object a JOIN Object b ON DISTANCE(a.…, b.…) < 5 * overlap``, ``… JOIN Source s …``
    Where the overlap does not reach, or the table has none, or is of another family,
    the rows come from the chunks around: the **halo** holds every row whose home lies
    within r + δ + δ' of the batch's chunks, each once, so that no ``_chunk`` is needed
    (δ' is how far b's own rows lie from their homes). ``Source s`` of a neighbour b is
    in the halo too: its home is b's.

``Object o JOIN ObjectRef m ON m.objectId = o.objectId JOIN Ref r ON r.refId = m.refId``
    A ref-match row lies in the home chunk of its first key: own rows join own rows.
    The homes of a pair are within m's overlap radius of each other (loading refuses
    others). If that is at most r's, then r is among its own and overlap rows there.

``Ref r LEFT JOIN ObjectRef m ON m.refId = r.refId``
    By its second key a ref-match row has a copy in r's home chunk: it is among m's own
    and overlap rows there, and ``_chunk`` tells it from the copies of other chunks.

``… JOIN Filter f``
    A copy is whole everywhere. But ``Filter f LEFT JOIN Source s`` would null-extend f
    in each chunk again: a copy may only be on the null-extended side.

``a LEFT JOIN b ON …``
    Local under the same conditions, if they stand in ON: what WHERE says is true only
    after null rows were added. The anchor is never null-extended.

``a FULL JOIN b ON a.key = b.key``
    Local where both hold the same director key: partners share a home, and an own row
    without partner there has none anywhere. (`simplify` takes any other apart.)

``… WHERE EXISTS (SELECT … FROM Source s WHERE s.objectId = o.objectId)``
    A subquery needs no anchor of its own: o is in exactly one chunk, and if every
    relation of the subquery is local to o then o finds there all that it finds
    anywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from qserv.catalog.snapshot import Family
from qserv.catalog.tables import CHUNK, TableKind
from qserv.plan.depth import references
from qserv.plan.expressions import ColumnRef, Near, Position, conjuncts
from qserv.plan.keys import Classes, Held, equal_to
from qserv.plan.plan import Extent
from qserv.plan.query import Neighbours, Relation, Select

_ARCSEC = 3600


@dataclass(frozen=True, slots=True)
class Sky:
    """What the proof knows of the relations of a query.

    Parameters
    ----------
    families
        Relation number -> its family, for relations that lie in chunks.
    keys
        Columns of its relations that hold director keys: the rows have their homes.
    seconds
        Columns that hold the second keys of ref-match tables: their homes are within
        their table's overlap radius of the rows' homes.
    far
        Relations whose rows lie in buckets, beside no chunk.
    """

    families: Mapping[int, Family]
    keys: Mapping[ColumnRef, Held]
    seconds: Mapping[ColumnRef, Held] = field(default_factory=dict)
    far: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Placement:
    """How far the proof came.

    Parameters
    ----------
    relations
        Number -> the relation with its extent, for all that are placed.
    edges
        The near-neighbour edges that join them.
    missing
        Numbers of the relations that are not local, each with the reason.
    """

    relations: Mapping[int, Relation]
    edges: tuple[Neighbours, ...]
    missing: Mapping[int, str]

    @property
    def halos(self) -> int:
        """How many relations are read from around the chunks."""
        return sum(r.extent is Extent.HALO for r in self.relations.values())

    def placed(self, body: Select) -> Select:
        """Return the SELECT with its relations as they are placed."""
        relations = tuple(self.relations.get(r.number, r) for r in body.relations)
        inside = {r.number for r in relations}
        edges = tuple(e for e in self.edges if e.right in inside)
        return replace(body, relations=relations, neighbours=edges)


def anchors(body: Select, sky: Sky) -> list[Relation]:
    """Return the relations of a SELECT that may be its anchor."""
    return [r for r in body.relations if r.number in sky.families and r.join.is_inner]


def place(body: Select, sky: Sky, anchor: Relation) -> Placement:
    """Place the relations of a SELECT around one anchor."""
    family = sky.families[anchor.number]
    first = replace(anchor, extent=Extent.OWN, reach=_offset(anchor))
    first = replace(first, second_reach=_paired(anchor))
    return _Attempt(
        body, sky, family, {anchor.number: first}, Classes(conjuncts(body.where))
    ).run()


def place_inside(
    body: Select, sky: Sky, family: Family | None, around: Mapping[int, Relation]
) -> Placement:
    """Place the relations of a correlated subquery around those of its outer query."""
    return _Attempt(
        body, sky, family, dict(around), Classes(conjuncts(body.where))
    ).run()


@dataclass(frozen=True, slots=True)
class _Link:
    """An equality of director keys with a relation that is placed.

    Parameters
    ----------
    leader
        That relation.
    reach
        How far the homes of its keys lie outside the chunk, in degrees.
    first, second
        Whether it is by the second key of the leader (`first` is False), or of the
        relation that is to be placed.
    """

    leader: Relation
    reach: float
    first: bool
    second: bool


@dataclass(slots=True)
class _Attempt:
    """The proof for one choice of what is placed first."""

    body: Select
    sky: Sky
    family: Family | None
    placed: dict[int, Relation]
    classes: Classes
    edges: list[Neighbours] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def run(self) -> Placement:
        """Place relations until none is left or none can be placed."""
        for relation in self.body.relations:
            known = self.sky.families
            if relation.number not in known and relation.number not in self.sky.far:
                self.placed[relation.number] = replace(relation, extent=Extent.COPY)
        while self._beside_all() or self._around_one():
            pass
        missing = {r.number: self._reason(r) for r in self._waiting()}
        return Placement(self.placed, tuple(self.edges), missing)

    def _beside_all(self) -> bool:
        """Place what is stored beside the chunk; whether anything was."""
        waiting = self._waiting()
        for relation in waiting:
            if (near := self._beside(relation)) is not None:
                self.placed[relation.number] = near
        return len(self._waiting()) < len(waiting)

    def _around_one(self) -> bool:
        """Place one relation that must be fetched: others may lie beside it then."""
        for relation in self._waiting():
            if (far := self._around(relation)) is not None:
                self.placed[relation.number] = far
                return True
        return False

    def _waiting(self) -> list[Relation]:
        return [r for r in self.body.relations if r.number not in self.placed]

    def _reason(self, relation: Relation) -> str:
        return self.reasons.get(
            relation.number,
            f"{relation.alias} is joined neither by its director key nor as neighbour",
        )

    def _beside(self, relation: Relation) -> Relation | None:
        """Place a relation whose rows are stored beside the chunk."""
        for link in self._links(relation):
            if (linked := self._linked_beside(relation, link)) is not None:
                return linked
        for near, other in self._partners(relation):
            reach = other.reach + near.radius
            within = f"is within {near.radius * _ARCSEC:.6g} arcsec of"
            if self._overlaps(relation, other, within, reach):
                return self._neighbour(relation, other, near, Extent.OWN_AND_OVERLAP)
        return None

    def _linked_beside(self, relation: Relation, link: _Link) -> Relation | None:
        """Place a relation that is stored where the key of its leader has its home."""
        here = link.reach == 0 and link.leader.extent is not Extent.HALO
        if here and not link.second:
            return self._linked(relation, link, Extent.OWN)
        if not self._can_host(link.leader, relation):
            return None
        reach = link.reach + _offset(relation)
        copied = here and link.second and self._is_copied(relation, link.leader)
        if copied or (
            not link.second
            and self._overlaps(relation, link.leader, "has a key of", reach)
        ):
            placed = self._linked(relation, link, Extent.OWN_AND_OVERLAP)
            return replace(placed, host=link.leader.number)
        return None

    def _can_host(self, leader: Relation, relation: Relation) -> bool:
        """Whether a copy can be tied to the chunk beside which the leader is stored.

        Only a table's rows say which that is, and ON names only what stands before it.
        """
        if leader.stored is None:
            return False
        order = [r.number for r in self.body.relations]
        later = order[order.index(relation.number) :]
        return relation.condition is None or leader.number not in later

    def _linked(self, relation: Relation, link: _Link, extent: Extent) -> Relation:
        """Return a relation that is placed by a key, and where its homes are then."""
        apart = _paired(relation)
        home = link.reach + (apart if link.second else 0.0)
        return replace(
            relation,
            extent=extent,
            reach=home + _offset(relation),
            home_reach=home,
            second_reach=link.reach + (0.0 if link.second else apart),
            leader=link.leader.number if link.first and not link.second else None,
        )

    def _around(self, relation: Relation) -> Relation | None:
        """Place a relation whose rows are fetched from the chunks around."""
        if relation.stored is None or _offset(relation) == float("inf"):
            return None
        for link in self._links(relation):
            return self._linked(relation, link, Extent.HALO)
        for near, other in self._partners(relation):
            if other.reach < float("inf"):
                return self._neighbour(relation, other, near, Extent.HALO)
        return None

    def _neighbour(
        self, relation: Relation, other: Relation, near: Near, extent: Extent
    ) -> Relation:
        self.edges.append(Neighbours(other.number, relation.number, near.radius))
        reach = other.reach + near.radius
        return replace(
            relation,
            extent=extent,
            reach=reach,
            home_reach=reach + _offset(relation),
            host=other.number,
        )

    def _links(self, relation: Relation) -> list[_Link]:
        """Return the placed relations with the same director key, the nearest first."""
        equals = self._equals(relation)
        found: list[_Link] = []
        for second, known in enumerate((self.sky.keys, self.sky.seconds)):
            for mine, held in known.items():
                if mine.relation != relation.number:
                    continue
                for theirs in equals(mine) - {mine}:
                    found += self._link(theirs, held, second=bool(second))
        return sorted(found, key=lambda k: (k.leader.extent is Extent.HALO, k.reach))

    def _equals(self, relation: Relation) -> Callable[[ColumnRef], set[ColumnRef]]:
        """Return what says which columns equal one, where a relation is joined."""
        if relation.condition is None:
            return self.classes.of
        conditions = (*conjuncts(relation.condition), *conjuncts(self.body.where))
        return lambda column: equal_to(column, conditions)

    def _link(self, theirs: ColumnRef, held: Held, *, second: bool) -> Iterable[_Link]:
        other = self.placed.get(theirs.relation)
        first = self.sky.keys.get(theirs)
        key = first or self.sky.seconds.get(theirs)
        if other is not None and key is not None and key.director == held.director:
            reach = other.home_reach if first else other.second_reach
            yield _Link(other, reach, first is not None, second)

    def _partners(self, relation: Relation) -> Iterable[tuple[Near, Relation]]:
        """Yield the placed relations that this one must be near to."""
        outer = not relation.join.is_inner
        terms = conjuncts(relation.condition if outer else self.body.where)
        for near in (t for t in terms if isinstance(t, Near)):
            for ours, theirs in ((near.first, near.second), (near.second, near.first)):
                if ours == relation.position and (other := self._at(theirs)):
                    yield near, other

    def _at(self, position: Position) -> Relation | None:
        """Return the placed relation whose own position that is."""
        for relation in self.placed.values():
            if relation.extent is not Extent.COPY and relation.position == position:
                return relation
        return None

    def _overlaps(
        self, relation: Relation, other: Relation, within: str, reach: float
    ) -> bool:
        """Whether all rows that matter are among own and overlap rows."""
        stored, table = relation.stored, relation.stored and relation.stored.table
        family, families = self.family, self.sky.families
        if not (stored and table and families[relation.number] is family):
            why = f"{relation.alias} is of another family than {other.alias}"
        elif self._names_chunk(relation):
            why = f"the chunkId of {relation.alias} is not that of its neighbour"
        elif other.extent is Extent.HALO:
            why = f"{other.alias} is not stored beside the chunk"
        elif table.kind is not TableKind.DIRECTOR:
            why = f"{table.name} is a {table.kind} table, which has no overlap"
        elif _offset(relation) > 0:
            why = f"positions of {table.name} were refined after its first load"
        elif reach > stored.overlap:
            why = (
                f"{relation.alias} {within} "
                f"{other.alias}, which reaches {reach * _ARCSEC:.6g} arcsec outside a "
                f"chunk; the overlap is {stored.overlap * _ARCSEC:.6g} arcsec"
            )
        else:
            return True
        self.reasons[relation.number] = why
        return False

    def _is_copied(self, relation: Relation, leader: Relation) -> bool:
        """Whether all pairs with a second key of the leader lie beside the chunk."""
        same = self.sky.families[relation.number] is self.family
        if same and not self._names_chunk(relation):
            return True
        self.reasons[relation.number] = (
            f"the copy of {relation.alias} beside {leader.alias} has another chunkId"
        )
        return False

    def _names_chunk(self, relation: Relation) -> bool:
        return any(
            ref.relation == relation.number and ref.column.name == CHUNK
            for ref in references(self.body)
        )


def _paired(relation: Relation) -> float:
    """Return how far apart the homes of a ref-match row's two keys are, at most."""
    if relation.second_key is None or relation.stored is None:
        return 0.0
    return relation.stored.overlap


def _offset(relation: Relation) -> float:
    if relation.stored is None:
        return 0.0
    offset = relation.stored.offset
    return float("inf") if offset is None else offset
