"""Bring a query to fewer shapes, before anybody asks where its rows are.

A subquery that only selects and renames is merged into the query around it, so that an
area outside limits what is read inside. An outer join whose null rows WHERE drops is an
inner join. A FULL JOIN is a LEFT JOIN and the right rows without partner:

    a FULL JOIN b ON c  =  a LEFT JOIN b ON c
                           UNION ALL
                           b WHERE NOT EXISTS (SELECT … FROM a WHERE c), a's side NULL

unless both sides hold the same director key, and so all partners share a chunk.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Final

from qserv.catalog.tables import Column, DataType
from qserv.errors import UnsupportedQuery
from qserv.plan.depth import (
    free,
    rebuild,
    refs_of,
    relations_of,
    renumbered,
    substitute,
)
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Exists,
    Expression,
    Null,
    conjunction,
    conjuncts,
    has_window,
)
from qserv.plan.keys import shares_key
from qserv.plan.prepared import is_repeatable
from qserv.plan.push import pushed
from qserv.plan.query import (
    FOUND,
    Body,
    Combined,
    JoinKind,
    Operator,
    Output,
    Relation,
    Select,
    Shared,
    clauses,
    map_clauses,
    map_subqueries,
    subqueries,
    with_columns,
)
from qserv.plan.rejecting import rejecting, rejects


def simplify(body: Body, numbers: "count[int]") -> Body:
    """Bring a query to fewer shapes; its answer stays the same.

    Parameters
    ----------
    body
        As bound.
    numbers
        Gives relations that are copied their numbers.
    """
    uses: Counter[int] = Counter()
    _count_uses(body, uses)
    return _Simplifier(uses, numbers).body(body)


def _count_uses(body: Body, uses: Counter[int]) -> None:
    """Count how often each query of WITH is named in the text."""
    if isinstance(body, Select):
        for shared in (r.source for r in body.relations):
            if isinstance(shared, Shared):
                uses[shared.number] += 1
                if uses[shared.number] == 1:
                    _count_uses(shared.body, uses)
        inner = [r.source for r in body.relations if isinstance(r.source, Body)]
        inner += [s.body for c in clauses(body) for s in subqueries(c)]
    else:
        inner = [body.left, body.right]
    for each in inner:
        _count_uses(each, uses)


class _Simplifier:
    def __init__(self, uses: Counter[int], numbers: "count[int]") -> None:
        self._uses = uses
        self._numbers = numbers
        self._shared: dict[int, Body] = {}
        self._inner: dict[Body, Body] = {}

    def body(self, body: Body) -> Body:
        if isinstance(body, Combined):
            left, right = self.body(body.left), self.body(body.right)
            return replace(body, left=left, right=right)
        relations = tuple(map(self._opened, body.relations))
        body = pushed(rejecting(replace(body, relations=relations)), self._numbers)
        body = map_clauses(body, self._subqueries)
        body = replace(body, relations=tuple(map(self._relation, body.relations)))
        if body.relations[-1].join is JoinKind.FULL:
            return self._full(body)
        while (merged := _merged(rejecting(body))) is not None:
            body = merged
        return _apart(_lifted(rejecting(body)), self._numbers)

    def _subqueries(self, node: Expression) -> Expression:
        return map_subqueries(node, self._once)

    def _once(self, body: Body) -> Body:
        """Simplify a query in an expression; one that stands twice stays one value.

        ORDER BY names what is selected by repeating it.
        """
        if body not in self._inner:
            self._inner[body] = self.body(body)
        return self._inner[body]

    def _opened(self, relation: Relation) -> Relation:
        """Take a query of WITH that is read once for one that stands in FROM."""
        source = relation.source
        if isinstance(source, Shared) and self._uses[source.number] <= 1:
            return replace(relation, source=source.body)
        return relation

    def _relation(self, relation: Relation) -> Relation:
        match relation.source:
            case Shared() as shared:
                if shared.number not in self._shared:
                    self._shared[shared.number] = self.body(shared.body)
                source = replace(shared, body=self._shared[shared.number])
                return replace(relation, source=source)
            case Select() | Combined() as inner:
                return replace(relation, source=self.body(inner))
            case _:
                return relation

    def _full(self, body: Select) -> Body:
        """Take a FULL JOIN apart, unless every chunk can answer it as it is."""
        if (kept := _outer(body)) is not None:
            return self.body(kept)
        left, right = (self._named(r) for r in body.relations)
        assert right.condition is not None, "a FULL JOIN has ON or USING"
        if shares_key(left, right, conjuncts(right.condition)) and not free(body):
            return body
        twice = [s.body for s in subqueries(right.condition)]
        twice += [r.source for r in (left, right) if isinstance(r.source, Body)]
        if not all(map(is_repeatable, twice)):
            raise UnsupportedQuery(
                "a subquery with TOP or ROW_NUMBER in ON of a FULL JOIN is not "
                "answered yet: put it into WITH and join that"
            )
        found = replace(body, relations=(left, replace(right, join=JoinKind.LEFT)))
        partner = Exists(Select((left,), (FOUND,), where=right.condition))
        lonely: Expression = Call("NOT", (partner,), DataType.BOOLEAN)
        asked = (_nulled(t, left.number) for t in conjuncts(body.where))
        values = (_nulled(o.expression, left.number) for o in body.outputs)
        alone = Select(
            relations=(replace(right, join=JoinKind.FIRST, condition=None),),
            outputs=tuple(map(Output, values, body.columns)),
            where=conjunction((lonely, *asked)),
        )
        return Combined(
            Operator.UNION,
            duplicates=True,
            left=self.body(found),
            right=self.body(renumbered(alone, self._numbers)),
            columns=body.columns,
        )

    def _named(self, relation: Relation) -> Relation:
        """Make a query that is read twice one that is computed once, if it can be."""
        if not isinstance(relation.source, Body) or free(relation.source):
            return relation
        number = next(self._numbers)
        self._uses[number] = 2
        return replace(relation, source=Shared(number, "", relation.source))


def _outer(body: Select) -> Select | None:
    """Return a FULL JOIN as a LEFT one, if WHERE drops the null rows of a side."""
    left, right = body.relations
    terms = conjuncts(body.where)
    if any(rejects(t, left.number) for t in terms):
        return replace(body, relations=(left, replace(right, join=JoinKind.LEFT)))
    if any(rejects(t, right.number) for t in terms):
        lost = replace(left, join=JoinKind.LEFT, condition=right.condition)
        kept = replace(right, join=JoinKind.FIRST, condition=None)
        return replace(body, relations=(kept, lost))
    return None


def _nulled(node: Expression, lost: int) -> Expression:
    def ref(node: ColumnRef) -> Expression:
        return Null(node.datatype) if node.relation == lost else node

    return substitute(node, ref)


def _merged(body: Select) -> Select | None:
    """Merge the first subquery of FROM that can be; None where none can."""
    for place, relation in enumerate(body.relations):
        inner = relation.source
        if not (isinstance(inner, Select) and _is_plain(inner)):
            continue
        if relation.join.is_inner:
            return _spliced(body, place, inner)
        if relation.join is JoinKind.LEFT and _is_one(inner):
            return _attached(body, place, inner)
    return None


def _is_plain(inner: Select) -> bool:
    """Whether a query only filters and computes, each value of its rows' columns."""
    return _is_simple(inner) and all(relations_of(o.expression) for o in inner.outputs)


def _is_simple(inner: Select) -> bool:
    """Whether a query only filters and computes, row by row."""
    if inner.grouped or inner.distinct or inner.offset or inner.limit is not None:
        return False
    if any(r.join is JoinKind.FULL for r in inner.relations):
        return False
    values = [o.expression for o in inner.outputs]
    return not any(has_window(v) or any(subqueries(v)) for v in values)


def _is_one(inner: Select) -> bool:
    """Whether a query only filters one relation, and so may be an outer join's side."""
    plain = all(isinstance(o.expression, ColumnRef) for o in inner.outputs)
    filtered = inner.where is not None and any(subqueries(inner.where))
    return len(inner.relations) == 1 and plain and not filtered


def _spliced(body: Select, place: int, inner: Select) -> Select:
    relation = body.relations[place]
    first, *rest = inner.relations
    within = (replace(first, join=relation.join), *rest)
    relations = (*body.relations[:place], *within, *body.relations[place + 1 :])
    where = conjunction((*conjuncts(body.where), *conjuncts(inner.where)))
    return _inlined(replace(body, relations=relations, where=where), relation, inner)


def _attached(body: Select, place: int, inner: Select) -> Select:
    relation = body.relations[place]
    condition = conjunction((*conjuncts(relation.condition), *conjuncts(inner.where)))
    (only,) = inner.relations
    joined = replace(only, join=JoinKind.LEFT, condition=condition)
    relations = (*body.relations[:place], joined, *body.relations[place + 1 :])
    return _inlined(replace(body, relations=relations), relation, inner)


def _lifted(body: Select) -> Select:
    """Ask in ON what a query that LEFT JOIN joins asks of the query around them all.

    Only what stands beside a subquery's own relations may name an outer column.
    """
    if not any(isinstance(r.source, Select) and free(r.source) for r in body.relations):
        return body
    relations = tuple(
        _with_lifted(r, r.source)
        if r.join is JoinKind.LEFT
        and isinstance(r.source, Select)
        and _is_plain(r.source)
        else r
        for r in body.relations
    )
    return replace(body, relations=relations)


def _with_lifted(relation: Relation, inner: Select) -> Relation:
    own = {r.number for r in inner.relations}
    terms = conjuncts(inner.where)
    lifted = tuple(t for t in terms if relations_of(t) - own)
    needed = dict.fromkeys(r for t in lifted for r in refs_of(t) if r.relation in own)
    shown = {
        ref: Column(f"{_LIFTED}{place}", ref.datatype)
        for place, ref in enumerate(needed)
    }

    def outside(ref: ColumnRef) -> Expression:
        return ColumnRef(relation.number, shown[ref]) if ref in shown else ref

    outputs = (Output(ref, column) for ref, column in shown.items())
    rest = conjunction(tuple(t for t in terms if t not in lifted))
    asked = (substitute(t, outside) for t in lifted)
    return replace(
        relation,
        source=replace(inner, outputs=(*inner.outputs, *outputs), where=rest),
        condition=conjunction((*conjuncts(relation.condition), *asked)),
    )


_LIFTED: Final = "outer "
"""How names of columns begin that only such a condition reads."""


def _apart(body: Select, numbers: "count[int]") -> Body:
    """Ask each side of a UNION ALL apart where one names an outer column."""
    union = body.relations[0].source
    if len(body.relations) > 1 or not isinstance(union, Combined) or not free(union):
        return body
    sides = union.left, union.right
    if union.operator is not Operator.UNION or not union.duplicates:
        return body
    if not all(isinstance(s, Select) and _is_simple(s) for s in (body, *sides)):
        return body
    if not all(map(is_repeatable, _asked_in(body))):
        return body
    left, right = (_over(body, side) for side in sides)
    columns = body.columns
    return replace(union, left=left, right=renumbered(right, numbers), columns=columns)


def _over(body: Select, side: Body) -> Body:
    relation = body.relations[0]
    source = with_columns(side, relation.columns)
    assert isinstance(source, Select), "only simple queries are asked apart"
    # It stands in a subquery, whose rows have no order.
    unordered = replace(body, orderings=())
    return _spliced(unordered, 0, source)


def _asked_in(body: Select) -> Iterator[Body]:
    return (s.body for c in clauses(body) for s in subqueries(c))


def _inlined(body: Select, relation: Relation, inner: Select) -> Select:
    """Let references to a merged query mean its expressions."""
    meaning = {o.column.name: o.expression for o in inner.outputs}

    def ref(node: ColumnRef) -> Expression:
        return meaning[node.column.name] if node.relation == relation.number else node

    changed = rebuild(body, ref)
    assert isinstance(changed, Select), "rewriting keeps the shape"
    return changed
