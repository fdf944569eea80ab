"""Give the subqueries of a query's expressions a place.

What a subquery asks of its outer row is answered beside it, where all that it reads is
local to that row. What is not is fetched first: the whole subquery, if it depends on no
outer row, or else its groups (`qserv.plan.unnest`), or the rows that it reads.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Protocol

from qserv.catalog.snapshot import Family
from qserv.plan.depth import free
from qserv.plan.expressions import (
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    InValues,
    Scalar,
    Subquery,
    conjunction,
    conjuncts,
    map_children,
    walk,
)
from qserv.plan.finish import windows
from qserv.plan.prepared import (
    Around,
    Local,
    Prepared,
    both,
    enough_for,
    is_repeatable,
    is_semijoin,
    with_rows,
)
from qserv.plan.query import Body, Buckets, Combined, Select, all_of, map_clauses
from qserv.plan.relations import Sky, place_inside
from qserv.plan.stages import Stages
from qserv.plan.unnest import unnested

_NESTED = Exists | InQuery | Scalar | InValues


class Preparing(Protocol):
    """What takes the queries inside of a query apart."""

    def prepare(self, body: Body) -> Prepared:
        """Take a query apart; adds the stages whose rows it needs."""
        ...

    def sources(
        self, body: Select, domain: Family | Buckets | None
    ) -> tuple[Select, Sky]:
        """Take the queries in FROM apart, and see which relations lie in chunks."""
        ...

    def fetched(
        self, body: Select, sky: Sky, missing: Iterable[int], *, once: bool
    ) -> tuple[Select, Sky]:
        """Fetch relations that are not local; each row once where that is enough."""
        ...


class Nested:
    """Places the subqueries in the clauses of SELECTs.

    Parameters
    ----------
    preparing
        Takes the subqueries themselves apart.
    stages
        Where the stages that they need are added.
    numbers
        Gives new relations their numbers.
    """

    def __init__(
        self, preparing: Preparing, stages: Stages, numbers: "count[int]"
    ) -> None:
        self._preparing = preparing
        self._stages = stages
        self._numbers = numbers

    def settled(self, body: Select, around: Around | None) -> Select:
        """Give every subquery in a SELECT's clauses a place.

        Parameters
        ----------
        body
            With its relations placed.
        around
            What the subqueries see of it; None where the czar answers.
        """
        # One subquery in two clauses is one value: ORDER BY names what is selected.
        known: dict[Expression, Expression] = {}
        terms = tuple(
            self._node(t, around, {}, positive=True) for t in conjuncts(body.where)
        )

        def node(clause: Expression) -> Expression:
            return self._node(clause, around, known, positive=False)

        rest = map_clauses(replace(body, where=None), node)
        return replace(rest, where=conjunction(terms))

    def _node(
        self,
        node: Expression,
        around: Around | None,
        known: dict[Expression, Expression],
        *,
        positive: bool,
    ) -> Expression:
        if isinstance(node, ColumnRef):
            return node
        if not any(isinstance(n, _NESTED) for n in walk(node)):
            return node
        changed = map_children(
            node, lambda n: self._node(n, around, known, positive=False)
        )
        match changed:
            case InValues() | Exists() | InQuery() | Scalar():
                if changed not in known:
                    known[changed] = self._placed(changed, around, positive=positive)
                return known[changed]
            case _:
                return changed

    def _placed(
        self, node: Subquery | InValues, around: Around | None, *, positive: bool
    ) -> Subquery:
        if isinstance(node, InValues):
            rows = all_of(self._stages.listed(node), next(self._numbers))
            return InQuery(node.argument, rows)
        return self._subquery(node, around, positive=positive)

    def _subquery(
        self, node: Subquery, around: Around | None, *, positive: bool
    ) -> Subquery:
        if free(node.body):
            once = isinstance(node, Exists | InQuery)
            return replace(node, body=self._correlated(node.body, around, once=once))
        prepared = self._preparing.prepare(node.body)
        if isinstance(prepared, Local):
            if around is not None and is_semijoin(node, prepared, around, positive):
                return replace(node, body=prepared.body)
            if prepared.domain is None and is_repeatable(prepared.body):
                return replace(node, body=prepared.body)
            prepared = enough_for(node, prepared)
        rows = self._stages.rows(prepared)
        return replace(node, body=all_of(rows, next(self._numbers)))

    def _correlated(self, body: Body, around: Around | None, *, once: bool) -> Body:
        """Place a correlated subquery beside its outer query, or fetch its rows.

        To EXISTS and IN it matters `once` that there is a row, not how often.
        """
        if isinstance(body, Combined):
            left, right = (
                self._correlated(b, around, once=False) for b in (body.left, body.right)
            )
            return replace(body, left=left, right=right)
        counted = body.grouped or body.offset or body.limit is not None
        once = once and not (counted or windows(body))
        body, sky = self._preparing.sources(
            body, None if around is None else around.domain
        )
        while True:
            if around is None:
                missing: Iterable[int] = sky.families
            else:
                known = both(around.sky, sky)
                found = place_inside(body, known, around.family, around.relations)
                missing = found.missing
            if not missing:
                break
            if (parts := unnested(body, self._numbers)) is not None:
                rows = self._stages.rows(self._preparing.prepare(parts.groups))
                return self.settled(with_rows(parts.asked, rows), around)
            body, sky = self._preparing.fetched(body, sky, missing, once=once)
        if around is None:
            return self.settled(body, None)
        placed = found.placed(body)
        return self.settled(placed, around.joined(placed, sky))
