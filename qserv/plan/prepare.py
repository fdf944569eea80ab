"""Take a query apart into stages: what chunks answer, and what is made of it.

The rule is one: **the largest part that chunks can answer alone becomes a fragment**
(`qserv.plan.relations` proves it, `qserv.plan.finish` says how far it goes), and what
is in the way is fetched first: it becomes a stage of its own, planned by the same rule,
whose rows every worker gets (broadcast), or which are brought together by hash with
those that they are joined to. What is left over the rows of stages runs in the czar.

``SELECT … FROM Object WHERE objectId IN (SELECT objectId FROM Source WHERE flux > 9)``
    One fragment: a chunk holds all sources of its objects.
``SELECT … FROM Object o WHERE o.mag < (SELECT AVG(mag) FROM Object)``
    The average is two stages (partial sums, their merge); its one row is broadcast to
    the fragment.
``SELECT … FROM Source s JOIN Visit2 v ON s.visit = v.visit`` (both in chunks)
    The smaller side is a stage, broadcast; if both are large, both are spooled by a
    hash of ``visit`` and joined bucket by bucket.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import count
from typing import Final

from qserv.catalog.snapshot import Family, Snapshot
from qserv.catalog.tables import Column
from qserv.errors import UnsupportedQuery
from qserv.plan import finish, semijoin
from qserv.plan.aggregate import split
from qserv.plan.apart import grouped_apart
from qserv.plan.central import Centre
from qserv.plan.cut import Halves, component, cut, halves
from qserv.plan.depth import free, renumbered
from qserv.plan.estimate import rows_of, width
from qserv.plan.expressions import (
    ColumnRef,
)
from qserv.plan.keys import Held, director_of
from qserv.plan.limits import Sizes
from qserv.plan.nested import Nested
from qserv.plan.plan import Extent, Stage
from qserv.plan.prepared import (
    UNKNOWN,
    Around,
    Buckets,
    Central,
    Local,
    Prepared,
    as_copy,
    both,
    exported,
    exports,
    held_by_both,
    is_repeatable,
    less,
    once_each,
    second_keys,
    unknown_rows,
    with_rows,
    with_source,
)
from qserv.plan.query import (
    Body,
    Combined,
    Operator,
    Relation,
    Select,
    Shared,
    StageRows,
    all_of,
)
from qserv.plan.relations import Placement, Sky, anchors, place, place_inside
from qserv.plan.stages import Stages

_NOTHING: Final = Sky({}, {})


class Preparer:
    """Takes one query apart.

    Parameters
    ----------
    snapshot
        What it is planned against.
    numbers
        Gives new relations their numbers.
    sizes
        From which size on rows stay among the workers.
    """

    def __init__(self, snapshot: Snapshot, numbers: "count[int]", sizes: Sizes) -> None:
        self._snapshot = snapshot
        self._sizes = sizes
        self._numbers = numbers
        self._computed: dict[int, StageRows] = {}
        self._stages = Stages(snapshot, sizes)
        self._nested = Nested(self, self._stages, numbers)
        self._centre = Centre(self, self._nested, self._stages, numbers)

    def answer(self, body: Body) -> tuple[Stage, ...]:
        """Return the stages that answer a query, its own the last."""
        if isinstance(body, Select):
            self._stages.add(self._select(body, top=True))
        else:
            self._stages.add(self.prepare(body))
        return tuple(self._stages.made)

    def prepare(self, body: Body) -> Prepared:
        """Take a query apart; adds the stages whose rows it needs."""
        if isinstance(body, Combined):
            return self._combined(body)
        return self._select(body, top=False)

    def _select(self, body: Select, *, top: bool) -> Prepared:
        if not top and body.limit is None and not body.offset:
            body = replace(body, orderings=())
        body = grouped_apart(body, self._numbers) or body
        body, sky = self.sources(body)
        while sky.families and (candidates := anchors(body, sky)):
            tried = [(place(body, sky, anchor), anchor) for anchor in candidates]
            best, anchor = min(tried, key=lambda t: self._cost(body, sky, t[0]))
            family = sky.families[anchor.number]
            if (apart := self._apart(body, sky, best, family)) is not None:
                return self._hashed(apart, top=top)
            if not best.missing:
                return self._finished(body, sky, best, family, top=top)
            body, sky = self.fetched(body, sky, best.missing)
        return self._centre.answered(self._centre.reduced(body, sky))

    def _cost(
        self, body: Select, sky: Sky, placement: Placement
    ) -> tuple[float, bool, float]:
        """Say how dear a placement is: less comes first.

        Returns
        -------
        missing, unfinished, around
            The bytes to broadcast; whether what chunks group, number or tell apart must
            be merged after them; the bytes to read around the chunks.
        """
        placed = placement.placed(body)
        relations = {r.number: r for r in placed.relations}
        missing = sum(self._size(body, relations[n]) for n in placement.missing)
        around = (r for r in relations.values() if r.extent is Extent.HALO)
        finished = finish.all_in_chunk(placed, finish.held(placed, sky.keys))
        return missing, not finished, sum(self._size(body, r) for r in around)

    def _size(self, body: Select, relation: Relation) -> float:
        side, _ = cut(body, (relation,), UNKNOWN)
        return rows_of(side) * width(side.columns)

    def sources(self, body: Select, *, inside: bool = False) -> tuple[Select, Sky]:
        """Take the queries in FROM apart, and see which relations lie in chunks.

        `inside` an expression, and beside chunks, no query is left to the czar.
        """
        families: dict[int, Family] = {}
        keys: dict[ColumnRef, Held] = {}
        seconds: dict[ColumnRef, Held] = {}
        relations: list[Relation] = []
        central: set[int] = set()
        for relation in body.relations:
            prepared = self._source(relation)
            if prepared is None:
                relations.append(self._stored(relation, families, keys))
                seconds |= second_keys(relation)
                continue
            relations.append(replace(relation, source=prepared.body))
            if isinstance(prepared, Central):
                central.add(relation.number)
            elif isinstance(prepared.domain, Family):
                families[relation.number] = prepared.domain
                keys |= exported(relation.number, prepared)
        if families or inside:
            relations = [self._row_source(r, central) for r in relations]
        sky = Sky(families, keys, seconds)
        return replace(body, relations=tuple(relations)), sky

    def _row_source(self, relation: Relation, central: Collection[int]) -> Relation:
        """Make a query that the czar answers a stage, for workers to read."""
        if relation.number not in central:
            return relation
        assert isinstance(relation.source, Body), "only a query is central"
        return replace(relation, source=self._stages.rows(Central(relation.source)))

    def _source(self, relation: Relation) -> Prepared | None:
        """Take a query in FROM apart; None for a table or the rows of a stage."""
        match relation.source:
            case Shared() as shared:
                prepared = self._shared(shared)
            case Select() | Combined() as body:
                if free(body):
                    raise UnsupportedQuery(
                        "a RIGHT or FULL JOIN, or one in brackets, inside a subquery "
                        "names a column of the query around it, which is not answered "
                        "yet: put that condition into WHERE"
                    )
                prepared = self.prepare(body)
            case _:
                return None
        if not isinstance(prepared, Local) or isinstance(prepared.domain, Family):
            return prepared
        if prepared.domain is None and is_repeatable(prepared.body):
            return prepared
        return Central(all_of(self._stages.rows(prepared), next(self._numbers)))

    def _shared(self, shared: Shared) -> Prepared:
        """Compute a query of WITH once, unless chunks can where it is read."""
        known = self._computed.get(shared.number)
        if known is None:
            prepared = self.prepare(renumbered(shared.body, self._numbers))
            if isinstance(prepared, Local) and is_repeatable(shared.body):
                return prepared
            known = self._computed[shared.number] = self._stages.rows(prepared)
        return Central(all_of(known, next(self._numbers)))

    def _stored(
        self,
        relation: Relation,
        families: dict[int, Family],
        keys: dict[ColumnRef, Held],
    ) -> Relation:
        stored = relation.stored
        if stored is None or not stored.table.partitioned:
            return as_copy(relation)
        families[relation.number] = self._snapshot.family(stored.release)
        director, key = director_of(relation), relation.key
        if director is not None and key is not None:
            keys[key] = Held(director, key.column.nullable)
        return relation

    def fetched(
        self, body: Select, sky: Sky, missing: Iterable[int], *, once: bool = False
    ) -> tuple[Select, Sky]:
        """Fetch what is not local, with what it is joined to among the like.

        Each row `once` where duplicates change nothing.
        """
        taken = component(body, set(missing))
        number = next(self._numbers)
        side, body = cut(body, taken, number)
        rows = self._stages.rows(self.prepare(replace(side, distinct=once)))
        return with_source(body, number, rows), less(sky, taken)

    def _apart(
        self, body: Select, sky: Sky, placement: Placement, family: Family
    ) -> Halves | None:
        """Part a SELECT where two large sides meet; None where one is broadcast."""
        if placement.missing:
            taken = component(body, placement.missing)
            found = halves(body, taken, self._numbers)
            if found is None or not self._is_large(found.left):
                return None
            return found if self._is_large(found.right) else None
        for term, inner in semijoin.partners(body):
            if self._is_beside(inner, sky, placement, family):
                continue
            found = semijoin.halves(body, term, inner, self._numbers)
            if found is not None and self._is_large(found.right):
                return found
        return None

    def _is_large(self, side: Select) -> bool:
        return rows_of(side) * width(side.columns) > self._sizes.broadcast

    def _is_beside(
        self, inner: Select, sky: Sky, placement: Placement, family: Family
    ) -> bool:
        """Whether the tables of a subquery are local to the rows around it."""
        found, known = self.sources(inner)
        around = dict(placement.relations)
        return not place_inside(found, both(sky, known), family, around).missing

    def _hashed(self, found: Halves, *, top: bool) -> Prepared:
        """Bring two sides together bucket by bucket, and answer the rest there."""
        left, right = (self.prepare(s) for s in (found.left, found.right))
        if not isinstance(left, Local) or not isinstance(right, Local):
            sides = (left, right)
            return self._select(
                found.joined([self._stages.rows(s) for s in sides]), top=top
            )
        size = max(rows_of(s) * width(s.columns) for s in (found.left, found.right))
        count = self._stages.buckets(size)
        ours = self._stages.spooled(left, found.left_keys, count)
        theirs = self._stages.spooled(right, found.right_keys, count)
        body = found.joined([ours, theirs])
        if body.grouped or finish.windows(body) or body.distinct:
            chunks, rest = self._parted(body, unknown_rows(self._numbers))
            around = Around(Buckets(count), {}, _NOTHING)
            local = Local(self._nested.settled(chunks, around), Buckets(count))
            return self._merged(local, rest, top=top)
        return self._in_buckets(body, count, (), top=top)

    def _parted(self, body: Select, rows: Relation) -> tuple[Select, Select]:
        if body.grouped:
            parts = split(body, rows)
            return parts.partial, parts.whole
        if finish.windows(body):
            return finish.gathered(body, rows)
        return finish.ordered(body, rows)

    def _combined(self, body: Combined) -> Prepared:
        left, right = self.prepare(body.left), self.prepare(body.right)
        if isinstance(left, Local) and isinstance(right, Local):
            both = replace(body, left=left.body, right=right.body)
            held = held_by_both(body, left, right)
            union = body.operator is Operator.UNION and body.duplicates
            whole = any(not h.nullable for h in held.values())
            if left.domain is right.domain and (union or whole or left.domain is None):
                return Local(both, left.domain, held)
            if not union and left.domain is not None and right.domain is not None:
                size = sum(
                    rows_of(p.body) * width(p.body.columns) for p in (left, right)
                )
                if size > self._sizes.merge:
                    return self._spooled_sides(body, left, right, size)
        sides = (self._side(p, distinct=not body.duplicates) for p in (left, right))
        ours, theirs = sides
        return Central(replace(body, left=ours, right=theirs))

    def _spooled_sides(
        self, body: Combined, left: Local, right: Local, size: float
    ) -> Prepared:
        """Combine two large queries bucket by bucket: equal rows share a bucket."""
        count = self._stages.buckets(size)
        ours, theirs = (
            self._stages.spooled(p, p.body.columns, count) for p in (left, right)
        )
        made = replace(
            body,
            left=all_of(ours, next(self._numbers)),
            right=all_of(theirs, next(self._numbers)),
        )
        return Local(made, Buckets(count))

    def _side(self, prepared: Prepared, *, distinct: bool) -> Body:
        if isinstance(prepared, Central):
            return prepared.body
        if distinct:
            prepared = once_each(prepared)
        return all_of(self._stages.rows(prepared), next(self._numbers))

    def _finished(
        self,
        body: Select,
        sky: Sky,
        placement: Placement,
        family: Family,
        *,
        top: bool,
    ) -> Prepared:
        """Let the chunks finish as much as they can, and merge the rest."""
        body = placement.placed(body)
        around = Around(family, {r.number: r for r in body.relations}, sky)
        held = finish.held(body, sky.keys)
        rows = unknown_rows(self._numbers)
        grouped = finish.grouped_in_chunk(body, held)
        windowed = finish.windowed_in_chunk(body, held)
        if grouped and windowed and finish.ends_in_chunks(body, held, top=top):
            settled = self._nested.settled(body, around)
            return Local(settled, family, exports(settled, held))
        if grouped and windowed:
            chunks, rest = finish.ordered(body, rows)
        else:
            chunks, rest = self._parted(body, rows)
        local = Local(self._nested.settled(chunks, around), family)
        return self._merged(local, rest, top=top)

    def _merged(self, local: Local, rest: Select, *, top: bool) -> Prepared:
        """Merge the rows of chunks: in the czar, or in buckets if they are many."""
        size = rows_of(local.body) * width(local.body.columns)
        keys = finish.bucketed_by(rest)
        if size <= self._sizes.merge or not keys:
            return self._select(with_rows(rest, self._stages.rows(local)), top=top)
        made = self._stages.spooled(local, keys, self._stages.buckets(size))
        return self._in_buckets(with_rows(rest, made), made.buckets, keys, top=top)

    def _in_buckets(
        self, body: Select, count: int, keys: tuple[Column, ...], *, top: bool
    ) -> Prepared:
        """Answer a SELECT over rows that were brought together by hash of keys."""
        domain = Buckets(count)
        around = Around(domain, {}, _NOTHING)
        if finish.ends_in_buckets(body, keys, top=top):
            return Local(self._nested.settled(body, around), domain)
        rows = unknown_rows(self._numbers)
        chunks, rest = finish.ordered(body, rows)
        made = self._stages.rows(Local(self._nested.settled(chunks, around), domain))
        return self._select(with_rows(rest, made), top=top)
