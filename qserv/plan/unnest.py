"""Group what a correlated subquery aggregates, before its outer rows ask for it.

Where the outer row is only compared by ``=``, the answers to all that it may ask are
the groups of the columns that it is compared to:

    (SELECT MAX(s.flux) FROM Source s WHERE s.visit = o.class)
    =
    (SELECT MAX(x.p0) FROM x WHERE x.k0 = o.class)
    x: SELECT s.visit AS k0, MAX(s.flux) AS p0 FROM Source s GROUP BY s.visit

An outer row whose group is empty still gets what an aggregate gives over no rows. This
is the simplest case of Neumann & Kemper 2015, "Unnesting arbitrary queries" (BTW).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from qserv.plan.aggregate import split
from qserv.plan.depth import defined, free, relations_of
from qserv.plan.expressions import Call, Expression, conjunction, conjuncts
from qserv.plan.prepared import unknown_rows
from qserv.plan.query import Select


@dataclass(frozen=True, slots=True)
class Unnested:
    """A correlated subquery in two.

    Parameters
    ----------
    groups
        What no outer row has a part in: groups, and what their aggregates merge from.
    asked
        The subquery over their rows, which are yet to be made.
    """

    groups: Select
    asked: Select


def unnested(body: Select, numbers: "count[int]") -> Unnested | None:
    """Take the groups out of a correlated subquery.

    Returns
    -------
    Unnested or None
        None where it is not one aggregate, or its rows are not only equated.
    """
    if not body.grouped or body.groups or body.limit is not None or body.offset:
        return None
    own = frozenset(defined(body))
    pairs = {term: pair for term in conjuncts(body.where) for pair in _pair(term, own)}
    rest = conjunction(tuple(t for t in conjuncts(body.where) if t not in pairs))
    keys = tuple(dict.fromkeys(inner for inner, _ in pairs.values()))
    grouped = replace(body, where=rest, groups=keys)
    if not pairs:
        return None
    parts = split(grouped, unknown_rows(numbers))
    if free(parts.partial):
        return None
    merged = dict(zip(keys, parts.whole.groups, strict=True))
    terms = tuple(_asked(term, merged) for term in pairs)
    where = conjunction(terms)
    return Unnested(parts.partial, replace(parts.whole, groups=(), where=where))


def _pair(
    term: Expression, own: frozenset[int]
) -> Iterator[tuple[Expression, Expression]]:
    """Yield the inner and the outer value that a term equates."""
    match term:
        case Call("=", (one, other)):
            for inner, outer in ((one, other), (other, one)):
                mine, theirs = relations_of(inner), relations_of(outer)
                if mine and mine <= own and theirs and not theirs & own:
                    yield inner, outer
        case _:
            pass


def _asked(term: Expression, merged: dict[Expression, Expression]) -> Expression:
    assert isinstance(term, Call), "only equalities are taken apart"
    return replace(term, arguments=tuple(merged.get(a, a) for a in term.arguments))
