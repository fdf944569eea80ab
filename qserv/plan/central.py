"""What is answered without chunks: by one worker from its copies, or by the czar."""

from dataclasses import replace
from itertools import count

from qserv.catalog.tables import Column
from qserv.plan.cut import cut
from qserv.plan.depth import rebuild, references, relations_of, renumbered
from qserv.plan.expressions import (
    ColumnRef,
    Exists,
    Expression,
    conjunction,
    conjuncts,
)
from qserv.plan.nested import Nested, Preparing
from qserv.plan.prepared import (
    Central,
    Local,
    Prepared,
    as_copy,
    leaves,
    with_source,
)
from qserv.plan.query import FOUND, Body, JoinKind, Output, Relation, Select, StageRows
from qserv.plan.relations import Sky
from qserv.plan.stages import Stages


class Centre:
    """Answers SELECTs of which no relation can be an anchor.

    Parameters
    ----------
    preparing, nested
        Take queries inside of them apart.
    stages
        Where the stages that they need are added.
    numbers
        Gives new relations their numbers.
    """

    def __init__(
        self,
        preparing: Preparing,
        nested: Nested,
        stages: Stages,
        numbers: "count[int]",
    ) -> None:
        self._preparing = preparing
        self._nested = nested
        self._stages = stages
        self._numbers = numbers

    def reduced(self, body: Select, sky: Sky) -> Select:
        """Fetch the null-extended sides of a query whose preserved side is a copy.

        Of such a side only those rows matter that ON joins to some copy.
        """
        for lost in [r.number for r in body.relations if r.number in sky.families]:
            # Taken anew: cutting one side out rewrites the conditions of the others.
            relation = next(r for r in body.relations if r.number == lost)
            number = next(self._numbers)
            side, body = cut(body, (relation,), number)
            joined = next(r for r in body.relations if r.number == number)
            side = self._semijoined(side, joined, body)
            body = with_source(
                body, number, self._stages.rows(self._preparing.prepare(side))
            )
        return body

    def _semijoined(self, side: Select, joined: Relation, body: Select) -> Select:
        if joined.condition is None:
            return side
        mine = {
            c: o.expression for c, o in zip(side.columns, side.outputs, strict=True)
        }
        used = relations_of(joined.condition) - {joined.number}
        others = [r for r in body.relations if r.number in used]
        # A null row of an outer join may make ON true, which no row of its table does.
        kept = all(r.join.is_inner for r in others)
        if len(others) < len(used) or not others or not kept:
            return side
        first, *rest = (replace(r, condition=None) for r in others)
        inner = Select(
            relations=(
                replace(first, join=JoinKind.FIRST),
                *(replace(r, join=JoinKind.INNER) for r in rest),
            ),
            outputs=(FOUND,),
            where=joined.condition,
        )

        def ref(node: ColumnRef) -> Expression:
            return mine[node.column] if node.relation == joined.number else node

        partner = Exists(renumbered(rebuild(inner, ref), self._numbers))
        where = conjunction((*conjuncts(side.where), partner))
        return replace(side, where=where)

    def answered(self, body: Select) -> Prepared:
        """Answer a query over copies: by one worker, or here with rows of stages."""
        body = self._nested.settled(body, None)
        if not any(isinstance(r.source, StageRows) for r in leaves(body)):
            return Local(body, None)
        return Central(self._centralised(body))

    def _centralised(self, body: Select) -> Body:
        """Bring the replicated tables of a query to the czar."""
        used: dict[int, dict[Column, None]] = {}
        # A subquery that stands in two clauses is read in both, and fetched once.
        fetched: dict[int, StageRows] = {}
        for ref in references(body):
            used.setdefault(ref.relation, {})[ref.column] = None

        def here(relation: Relation) -> Relation:
            if relation.stored is None:
                return relation
            number = relation.number
            if number not in fetched:
                columns = tuple(used.get(number, relation.columns[:1]))
                outputs = tuple(Output(ColumnRef(number, c), c) for c in columns)
                only = replace(relation, join=JoinKind.FIRST, condition=None)
                local = Local(Select((as_copy(only),), outputs), None)
                fetched[number] = self._stages.rows(local)
            return replace(relation, source=fetched[number])

        return rebuild(body, lambda ref: ref, here)
