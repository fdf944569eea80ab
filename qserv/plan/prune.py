"""Leave out the columns of queries in FROM that nobody reads.

A join in brackets, and each side of a FULL JOIN, gives every column of its tables: of a
survey's Object that is a thousand, of which the query around it may name two.
"""

from collections.abc import Collection
from dataclasses import replace

from qserv.plan.depth import refs_of
from qserv.plan.expressions import Expression
from qserv.plan.query import (
    Body,
    Combined,
    Operator,
    Relation,
    Select,
    clauses,
    map_clauses,
    map_subqueries,
)


def pruned(body: Body) -> Body:
    """Return a query without columns that are not read; its rows stay the same."""
    return _pruned(body, None)


def _pruned(body: Body, wanted: Collection[int] | None) -> Body:
    """Keep the outputs at the wanted places; None for all of them."""
    if isinstance(body, Combined):
        return _combined(body, wanted)
    if wanted is not None and not body.distinct:
        kept = tuple(o for place, o in enumerate(body.outputs) if place in wanted)
        body = replace(body, outputs=kept or body.outputs[:1])
    body = map_clauses(body, _subqueries)
    used = {(r.relation, r.column.name) for c in clauses(body) for r in refs_of(c)}

    def inside(relation: Relation) -> Relation:
        inner = relation.source
        if not isinstance(inner, Body):
            return relation
        names = (c.name for c in inner.columns)
        places = {i for i, n in enumerate(names) if (relation.number, n) in used}
        return replace(relation, source=_pruned(inner, places))

    return replace(body, relations=tuple(map(inside, body.relations)))


def _subqueries(node: Expression) -> Expression:
    return map_subqueries(node, pruned)


def _combined(body: Combined, wanted: Collection[int] | None) -> Body:
    whole = body.operator is not Operator.UNION or not body.duplicates
    if wanted is None or whole or _is_distinct(body):
        left, right = pruned(body.left), pruned(body.right)
        return replace(body, left=left, right=right)
    places = set(wanted) or {0}
    return replace(
        body,
        left=_pruned(body.left, places),
        right=_pruned(body.right, places),
        columns=tuple(c for i, c in enumerate(body.columns) if i in places),
    )


def _is_distinct(body: Body) -> bool:
    """Whether some operand must keep all its columns, and so all must."""
    if isinstance(body, Select):
        return body.distinct
    whole = body.operator is not Operator.UNION or not body.duplicates
    return whole or _is_distinct(body.left) or _is_distinct(body.right)
