"""Group the halves of a query apart, where their rows lie in different places.

Partial results of both halves are merged as those of chunks are, so that no half sends
its rows. A UNION ALL has halves; a LEFT JOIN that keeps a copy is made of two:

    copy LEFT JOIN chunks ON c  =  copy JOIN chunks ON c
                                   UNION ALL
                                   copy WHERE NOT EXISTS (SELECT … FROM chunks WHERE c)

The first half is answered chunk by chunk; of the chunks' rows the second needs no more
than what ``c`` compares.
"""

from dataclasses import replace
from itertools import count

from qserv.catalog.tables import DataType
from qserv.plan import finish
from qserv.plan.aggregate import split
from qserv.plan.depth import rebuild, renumbered
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Exists,
    Expression,
    Null,
    conjunction,
    conjuncts,
)
from qserv.plan.prepared import homes, is_repeatable, unknown_rows, with_rows
from qserv.plan.query import (
    FOUND,
    Body,
    Combined,
    JoinKind,
    Operator,
    Relation,
    Select,
    StageRows,
    clauses,
    subqueries,
    with_columns,
)


def grouped_apart(body: Select, numbers: "count[int]") -> Select | None:
    """Return a grouped SELECT over the partial results of its halves.

    Returns
    -------
    Select or None
        None where there are no halves, or all rows lie in the same places.
    """
    asked = (s.body for c in clauses(body) for s in subqueries(c))
    if not body.grouped or not all(map(is_repeatable, asked)):
        return None
    body = _halved(body, numbers) or body
    inner = body.relations[0].source
    if len(body.relations) > 1 or not isinstance(inner, Combined):
        return None
    union = inner.operator is Operator.UNION and inner.duplicates
    if not union or homes(inner.left) == homes(inner.right):
        return None
    parts = split(body, unknown_rows(numbers))
    left, right = (
        _over(parts.partial, side, numbers) for side in (inner.left, inner.right)
    )
    columns = parts.partial.columns
    return with_rows(parts.whole, Combined(Operator.UNION, True, left, right, columns))


def _over(partial: Select, side: Body, numbers: "count[int]") -> Body:
    """Return a grouped SELECT over one side of what it was over."""
    relation = partial.relations[0]
    relation = replace(relation, source=with_columns(side, relation.columns))
    return renumbered(replace(partial, relations=(relation,)), numbers)


def _halved(body: Select, numbers: "count[int]") -> Select | None:
    """Take the LEFT JOIN of a copy and chunks apart; None where there is none."""
    lost = [r for r in body.relations if _in_chunks(r)]
    others = (r for r in body.relations if r not in lost)
    if len(lost) != 1 or lost[0].join is not JoinKind.LEFT:
        return None
    if not all(map(_is_copy, others)):
        return None
    joins, rest = finish.gathered(body, unknown_rows(numbers))
    alone = renumbered(_alone(joins, lost[0]), numbers)
    both = Combined(Operator.UNION, True, _met(joins, lost[0]), alone, joins.columns)
    return with_rows(rest, both)


def _in_chunks(relation: Relation) -> bool:
    return relation.stored is not None and relation.stored.table.partitioned


def _is_copy(relation: Relation) -> bool:
    if isinstance(relation.source, StageRows):
        return True
    return relation.stored is not None and not relation.stored.table.partitioned


def _met(joins: Select, lost: Relation) -> Select:
    """Return the rows that have a partner."""
    inner = replace(lost, join=JoinKind.INNER, condition=None)
    where = conjunction((*conjuncts(joins.where), *conjuncts(lost.condition)))
    relations = tuple(inner if r == lost else r for r in joins.relations)
    return replace(joins, relations=relations, where=where)


def _alone(joins: Select, lost: Relation) -> Select:
    """Return the rows that have none, the other side NULL."""
    side = replace(lost, join=JoinKind.FIRST, condition=None)
    partner = Exists(Select((side,), (FOUND,), where=lost.condition))

    def ref(node: ColumnRef) -> Expression:
        return Null(node.datatype) if node.relation == lost.number else node

    others = tuple(r for r in joins.relations if r != lost)
    alone = rebuild(replace(joins, relations=others), ref)
    assert isinstance(alone, Select), "rewriting keeps the shape"
    none = Call("NOT", (partner,), DataType.BOOLEAN)
    return replace(alone, where=conjunction((*conjuncts(alone.where), none)))
