"""Ask a condition inside of the query in FROM that it is about.

``SELECT x.n FROM (SELECT objectId, COUNT(*) AS n FROM Source GROUP BY objectId) AS x
WHERE x.objectId = 8`` counts the sources of one object, so one chunk is enough. A
condition that is false of a row may be asked of what the row is made of, where it drops
all of that:

``GROUP BY``, and HAVING in the same query
    What speaks of the keys alone drops whole groups. Where all rows are one group, as
    in ``SELECT COUNT(*) FROM Source``, there is a row whatever WHERE drops.
``OVER (PARTITION BY …)``
    What speaks of keys of every window alone drops whole partitions.
``DISTINCT``
    Equal rows are dropped alike.
``UNION``, ``EXCEPT``, ``INTERSECT``
    It is asked of both operands.
``LEFT JOIN`` of the query
    What ON says of that query alone decides which of its rows may be partners.

TOP and OFFSET count rows, so nothing is asked below them. Nor is anything that may fail
for rows which the inner query does not show.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Final

from qserv.catalog.tables import DataType
from qserv.plan.depth import free, relations_of, renumbered, substitute
from qserv.plan.expressions import (
    Aggregate,
    Call,
    Case,
    Cast,
    ColumnRef,
    Exists,
    Expression,
    InList,
    InMoc,
    InPolygon,
    InQuery,
    InValues,
    Literal,
    Near,
    Null,
    Pixel,
    Scalar,
    Separation,
    Window,
    children,
    conjunction,
    conjuncts,
    walk,
)
from qserv.plan.finish import windows
from qserv.plan.prepared import is_repeatable
from qserv.plan.query import (
    Body,
    Combined,
    JoinKind,
    Output,
    Relation,
    Select,
    map_subqueries,
    subqueries,
)

_SAFE: Final = {"COALESCE", "NULLIF", "GREATEST", "LEAST", "SUBCHUNK"}
"""Functions of whole numbers that cannot overflow."""
_ESCAPING: Final = {"LIKE ESCAPE", "ILIKE ESCAPE"}
"""Functions that refuse some texts."""


def pushed(body: Select, numbers: "count[int]") -> Select:
    """Ask the terms of a SELECT inside of its queries in FROM, where that is the same.

    Parameters
    ----------
    body
        As bound.
    numbers
        Gives relations that are copied their numbers.
    """
    body = _before_groups(body)
    if any(r.join is JoinKind.FULL for r in body.relations):
        return body
    terms = conjuncts(body.where)
    relations = []
    for relation in body.relations:
        asked, terms = _asked(relation, terms, numbers)
        relations.append(asked)
    where = body.where if terms == conjuncts(body.where) else conjunction(terms)
    return replace(body, relations=tuple(relations), where=where)


def _asked(
    relation: Relation, terms: tuple[Expression, ...], numbers: "count[int]"
) -> tuple[Relation, tuple[Expression, ...]]:
    """Return a relation whose query asks what it can, and the other terms of WHERE."""
    if not isinstance(relation.source, Body):
        return relation, terms
    if relation.join.is_inner:
        return _with_asked(relation, terms, numbers)
    if relation.join is JoinKind.LEFT:
        said = _copies(conjuncts(relation.condition), numbers)
        return _with_asked(relation, said, numbers)[0], terms
    return relation, terms


def _copies(
    terms: Iterable[Expression], numbers: "count[int]"
) -> tuple[Expression, ...]:
    """Return the terms that may be asked twice, with other numbers inside of them."""
    twice = (t for t in terms if all(is_repeatable(s.body) for s in subqueries(t)))
    return tuple(map_subqueries(t, lambda b: renumbered(b, numbers)) for t in twice)


def _before_groups(body: Select) -> Select:
    """Ask in WHERE what HAVING says of the keys alone."""
    if not body.groups or body.having is None:
        return body
    own = frozenset(r.number for r in body.relations)
    terms = conjuncts(body.having)
    early = tuple(t for t in terms if is_harmless(t) and _is_of(t, body.groups, own))
    late = conjunction(tuple(t for t in terms if t not in early))
    where = conjunction((*conjuncts(body.where), *early)) if early else body.where
    return replace(body, where=where, having=late)


def _with_asked(
    relation: Relation, terms: tuple[Expression, ...], numbers: "count[int]"
) -> tuple[Relation, tuple[Expression, ...]]:
    """Return a relation whose query asks those terms that it can, and the others."""
    inner, rest = relation.source, []
    assert isinstance(inner, Body), "only queries are asked"
    places = {c.name: place for place, c in enumerate(inner.columns)}
    for term in terms:
        made = None
        if relations_of(term) == {relation.number} and is_harmless(term):
            made = _Asking(term, relation.number, places, numbers).of(inner)
        if made is None:
            rest.append(term)
        else:
            inner = made
    return replace(relation, source=inner), tuple(rest)


class _Asking:
    """One term about the rows of a query, to be asked inside of it.

    Parameters
    ----------
    term, number, places
        The term, the relation that it names, and the places of that one's columns.
    numbers
        Gives relations that are copied their numbers.
    """

    def __init__(
        self,
        term: Expression,
        number: int,
        places: Mapping[str, int],
        numbers: "count[int]",
    ) -> None:
        self._term, self._number, self._places = term, number, places
        self._numbers = numbers

    def of(self, inner: Body) -> Body | None:
        """Return the query that asks it; None where that is not the same."""
        if isinstance(inner, Combined):
            return self._of_both(inner)
        term = self._about([o.expression for o in inner.outputs])
        if not _may_ask(inner, term):
            return None
        known = conjuncts(inner.where)
        where = inner.where if term in known else conjunction((*known, term))
        return replace(inner, where=where)

    def _of_both(self, inner: Combined) -> Body | None:
        if not all(is_repeatable(s.body) for s in subqueries(self._term)):
            return None
        left, right = self.of(inner.left), self._copied().of(inner.right)
        if left is None and right is None:
            return None
        return replace(
            inner,
            left=left or self.around(inner.left),
            right=right or self._copied().around(inner.right),
        )

    def _copied(self) -> "_Asking":
        """Return the same term, with other numbers in its subqueries."""
        term = map_subqueries(self._term, lambda b: renumbered(b, self._numbers))
        return _Asking(term, self._number, self._places, self._numbers)

    def around(self, operand: Body) -> Select:
        """Ask around an operand what cannot be asked inside of it."""
        number = next(self._numbers)
        values = [ColumnRef(number, c) for c in operand.columns]
        outputs = zip(values, operand.columns, strict=True)
        return Select(
            relations=(Relation(number, "", operand),),
            outputs=tuple(Output(value, column) for value, column in outputs),
            where=self._about(values),
        )

    def _about(self, values: Iterable[Expression]) -> Expression:
        """Return the term about the values that the query shows."""
        listed = list(values)

        def ref(node: ColumnRef) -> Expression:
            if node.relation != self._number:
                return node
            return listed[self._places[node.column.name]]

        return substitute(self._term, ref)


def _may_ask(inner: Select, term: Expression) -> bool:
    """Whether WHERE may ask a term about what a SELECT shows."""
    if inner.limit is not None or inner.offset or not is_harmless(term):
        return False
    if inner.grouped and not inner.groups:
        return False
    full = any(r.join is JoinKind.FULL for r in inner.relations)
    if full and any(subqueries(term)):
        return False
    own = frozenset(r.number for r in inner.relations)
    keys = [w.partition for w in windows(inner)]
    keys += [inner.groups] if inner.grouped else []
    return all(_is_of(term, each, own) for each in keys)


def _is_of(node: Expression, keys: tuple[Expression, ...], own: frozenset[int]) -> bool:
    """Whether an expression of own relations is the same wherever the keys are."""
    match node:
        case _ if node in keys:
            return True
        case ColumnRef():
            return node.relation not in own
        case Aggregate() | Window():
            return False
        case Exists() | InQuery() | Scalar() if free(node.body) & own:
            return False
        case _:
            return all(_is_of(part, keys, own) for part in children(node))


def is_harmless(node: Expression) -> bool:
    """Whether an expression has a value, and always the same, for any rows."""
    return all(map(_cannot_fail, walk(node)))


def _cannot_fail(node: Expression) -> bool:
    match node:
        case ColumnRef() | Literal() | Null() | InList() | InValues() | Case():
            return True
        case Near() | InPolygon() | Separation() | Pixel() | InMoc():
            return True
        case InQuery():
            return not free(node.body)
        case Cast():
            return _widens(node)
        case Call():
            whole = node.datatype.is_integer and node.function not in _SAFE
            return not whole and node.function not in _ESCAPING
        case _:
            return False


_WIDER: Final = (DataType.SMALLINT, DataType.INTEGER, DataType.BIGINT)


def _widens(node: Cast) -> bool:
    """Whether every value has its like in the other type."""
    given, wanted = node.argument.datatype, node.datatype
    if given in _WIDER and wanted in _WIDER:
        return _WIDER.index(given) <= _WIDER.index(wanted)
    numeric = given in _WIDER or given in {DataType.REAL, DataType.DOUBLE}
    return (wanted is DataType.DOUBLE and numeric) or isinstance(node.argument, Literal)
