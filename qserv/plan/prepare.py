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

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Final

from qserv.catalog.snapshot import Family, Snapshot
from qserv.plan import finish, semijoin, system
from qserv.plan.aggregate import split
from qserv.plan.apart import grouped_apart
from qserv.plan.central import Centre
from qserv.plan.cut import Halves, component, cut, halves
from qserv.plan.estimate import rows_of, width
from qserv.plan.known import known
from qserv.plan.limits import Sizes, check_relations
from qserv.plan.nested import Nested
from qserv.plan.origins import Finder, Origins
from qserv.plan.plan import Extent, Stage
from qserv.plan.prepared import (
    UNKNOWN,
    Around,
    Central,
    Local,
    Prepared,
    are_together,
    both,
    exports,
    hashed_alike,
    held_by_both,
    less,
    once_each,
    unknown_rows,
    with_rows,
    with_source,
)
from qserv.plan.query import (
    Body,
    Buckets,
    Combined,
    Operator,
    Relation,
    Select,
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
        self._stages = Stages(snapshot, sizes)
        self._finder = Finder(self, self._stages, snapshot, sizes, numbers)
        self._nested = Nested(self, self._stages, numbers)
        self._centre = Centre(self, self._nested, self._stages, numbers)

    def answer(self, body: Body) -> tuple[Stage, ...]:
        """Return the stages that answer a query, its own the last."""
        body = system.read(body, self._stages)
        if isinstance(body, Select):
            self._stages.end(self._select(body, top=True))
        else:
            self._stages.end(self.prepare(body))
        return tuple(self._stages.made)

    def prepare(self, body: Body) -> Prepared:
        """Take a query apart; adds the stages whose rows it needs."""
        if isinstance(body, Combined):
            return self._combined(body)
        return self._select(body, top=False)

    def _select(self, body: Select, *, top: bool) -> Prepared:
        if not top and body.limit is None and not body.offset:
            body = replace(body, orderings=())
        if (answered := known(body)) is not None:
            return Central(all_of(self._stages.read(answered), next(self._numbers)))
        body = grouped_apart(body, self._numbers) or body
        check_relations(body)
        body, origins = self._finder.found(body)
        if (buckets := origins.domain(body)) is not None:
            return self._in_buckets(body, origins, buckets, top=top)
        body, sky = self._finder.beside_chunks(body, origins)
        while sky.families and (candidates := anchors(body, sky)):
            best, anchor = self._best(body, sky, candidates)
            family = sky.families[anchor.number]
            if (apart := self._apart(body, sky, best, family)) is not None:
                return self._hashed(apart, top=top)
            if not best.missing:
                return self._finished(body, sky, best, family, top=top)
            body, sky = self.fetched(body, sky, best.missing)
        return self._centre.answered(self._centre.reduced(body, sky))

    def _best(
        self, body: Select, sky: Sky, candidates: Iterable[Relation]
    ) -> tuple[Placement, Relation]:
        """Return the cheapest placement, and its anchor: the first that costs nothing.

        Many joins by one key would else be proven from each of their relations.
        """
        costs: list[tuple[tuple[float, bool, float], int, Placement, Relation]] = []
        for anchor in candidates:
            placement = place(body, sky, anchor)
            cost = self._cost(body, sky, placement)
            costs.append((cost, len(costs), placement, anchor))
            if not any(cost):
                break
        return min(costs)[2:]

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
        finished = finish.all_in_place(
            placed, finish.in_chunks(finish.held(placed, sky.keys))
        )
        return missing, not finished, sum(self._size(body, r) for r in around)

    def _size(self, body: Select, relation: Relation) -> float:
        side, _ = cut(body, (relation,), UNKNOWN)
        return rows_of(side) * width(side.columns)

    def sources(
        self, body: Select, domain: Family | Buckets | None
    ) -> tuple[Select, Sky]:
        """Take the queries in FROM apart, in an expression of a query on `domain`."""
        body, origins = self._finder.found(body)
        return self._finder.inside(body, origins, domain)

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
        found, known = self.sources(inner, family)
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
        buckets = self._stages.buckets(size)
        ours = self._stages.spooled(left, found.left_keys, buckets)
        theirs = self._stages.spooled(right, found.right_keys, buckets)
        return self._select(found.joined([ours, theirs]), top=top)

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
            whole = whole or left.domain is None or hashed_alike(left, right)
            if are_together(left, right) and (union or whole):
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
        buckets = self._stages.buckets(size)
        ours, theirs = (
            self._stages.spooled(p, p.body.columns, buckets) for p in (left, right)
        )
        made = replace(
            body,
            left=all_of(ours, next(self._numbers)),
            right=all_of(theirs, next(self._numbers)),
        )
        return Local(made, buckets)

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
        whole = finish.in_chunks(held)
        if finish.ends_in_place(body, whole, top=top) and _is_settled(body, whole):
            settled = self._nested.settled(body, around)
            return Local(settled, family, exports(settled, held))
        return self._rest_merged(body, around, whole, top=top)

    def _in_buckets(
        self, body: Select, origins: Origins, buckets: Buckets, *, top: bool
    ) -> Prepared:
        """Let the buckets finish as much as they can, and merge the rest."""
        body = self._finder.as_rows(body, origins, origins.central)
        around = Around(buckets, {}, _NOTHING)
        whole = finish.in_buckets(body, origins.hashed)
        if finish.ends_in_place(body, whole, top=top) and _is_settled(body, whole):
            settled = self._nested.settled(body, around)
            hashed = finish.hashed_outputs(settled, origins.hashed)
            return Local(settled, buckets, hashed=hashed)
        return self._rest_merged(body, around, whole, top=top)

    def _rest_merged(
        self, body: Select, around: Around, whole: finish.Whole, *, top: bool
    ) -> Prepared:
        rows = unknown_rows(self._numbers)
        if _is_settled(body, whole):
            parts, rest = finish.ordered(body, rows)
        else:
            parts, rest = self._parted(body, rows)
        local = Local(self._nested.settled(parts, around), around.domain)
        if finish.all_in_place(body, whole):
            # Only to be put in order, which no bucket can do for another.
            return self._select(with_rows(rest, self._stages.rows(local)), top=top)
        return self._merged(local, rest, top=top)

    def _merged(self, local: Local, rest: Select, *, top: bool) -> Prepared:
        """Merge rows of chunks or buckets: in the czar, or in buckets if many."""
        size = rows_of(local.body) * width(local.body.columns)
        keys = finish.bucketed_by(rest)
        if size <= self._sizes.merge or not keys:
            made = self._stages.rows(local)
        else:
            made = self._stages.spooled(local, keys, self._stages.buckets(size))
        return self._select(with_rows(rest, made), top=top)


def _is_settled(body: Select, whole: finish.Whole) -> bool:
    """Whether nothing that is grouped or numbered must be merged."""
    return finish.grouped_in_place(body, whole) and finish.windowed_in_place(
        body, whole
    )
