"""Take a SELECT apart at a term that asks whether a row has a partner.

    SELECT … FROM Object o WHERE EXISTS (SELECT 1 FROM u.Source s WHERE s.id = o.id)

Where neither side is small and partners lie in other chunks, both sides are brought
together by a hash of what is equated, and each bucket answers the term for its rows.
``IN`` is an EXISTS with one equality more. NOT IN is not taken apart: one NULL
anywhere on its right side changes the answer for all rows.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from qserv.plan import finish, functions
from qserv.plan.cut import Halves, cut, equated, keyed, with_keys
from qserv.plan.depth import defined, free
from qserv.plan.expressions import (
    Call,
    Exists,
    Expression,
    InQuery,
    conjunction,
    conjuncts,
)
from qserv.plan.prepared import unknown_rows
from qserv.plan.query import FOUND, Select, subqueries


def partners(body: Select) -> Iterator[tuple[Expression, Select]]:
    """Yield the terms of WHERE that ask for partners, each with the query for these.

    A row has a partner where the query has a row, whatever its columns are.
    """
    for term in conjuncts(body.where):
        match term:
            case Exists(Select() as inner) | Call("NOT", (Exists(Select() as inner),)):
                pass
            case InQuery(argument, Select() as inner) if not any(subqueries(argument)):
                equal = functions.operator("=", argument, inner.outputs[0].expression)
                where = conjunction((*conjuncts(inner.where), equal))
                inner = replace(inner, outputs=(FOUND,), where=where)
            case _:
                continue
        if _is_plain(inner):
            yield term, inner


def _is_plain(inner: Select) -> bool:
    """Whether a query joins tables, and outer rows are named in its WHERE alone."""
    if inner.grouped or inner.offset or inner.limit is not None:
        return False
    if finish.windows(inner) or free(replace(inner, where=None)):
        return False
    return all(r.stored is not None and r.join.is_inner for r in inner.relations)


def halves(
    body: Select, term: Expression, inner: Select, numbers: "count[int]"
) -> Halves | None:
    """Part a SELECT at such a term.

    Returns
    -------
    Halves or None
        The rows that ask and the rows that are asked for; None where no value of one
        side is equated to one of the other.
    """
    ours = {r.number for r in body.relations}
    pairs = list(equated(conjuncts(inner.where), ours, set(defined(inner))))
    if not pairs:
        return None
    asked = next(numbers)
    right, rest = cut(inner, inner.relations, asked)
    later: Expression = Exists(rest)
    if isinstance(term, Call):
        later = replace(term, arguments=(later,))
    others = (t for t in conjuncts(body.where) if t != term)
    body = replace(body, where=conjunction((*others, later)))
    rows = unknown_rows(numbers)
    left, after = finish.gathered(body, rows, later=later)
    left, left_keys = with_keys(left, [keyed(a, b) for a, b in pairs])
    right, right_keys = with_keys(right, [keyed(b, a) for a, b in pairs])
    return Halves(left, right, left_keys, right_keys, after, (rows.number, asked))
