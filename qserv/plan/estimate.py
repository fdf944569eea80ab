"""How many rows a query may give, before any is read.

Rough on purpose: it only chooses between plans that are all exact, and is printed by
EXPLAIN. Selinger et al. 1979 (SIGMOD, section 4) is where such guesses come from.
"""

from typing import Final

from qserv.catalog.snapshot import TableVersion
from qserv.catalog.tables import Column, DataType
from qserv.plan.area import area
from qserv.plan.depth import relations_of
from qserv.plan.expressions import (
    Call,
    Cast,
    ColumnRef,
    Expression,
    InList,
    Near,
    conjuncts,
)
from qserv.plan.query import (
    Body,
    Combined,
    JoinKind,
    Relation,
    Select,
    Shared,
    StageRows,
    selects,
)
from qserv.sky.ranges import RangeSet

_GUESS: Final = 0.33
"""The share of rows that a predicate keeps of which nothing is known."""
_WHOLE: Final = 12 * 4**29
_TEXT: Final = 24
_WIDTHS: Final = {
    DataType.BOOLEAN: 1,
    DataType.SMALLINT: 2,
    DataType.INTEGER: 4,
    DataType.REAL: 4,
    DataType.VARCHAR: _TEXT,
    DataType.HUGEINT: 16,
}


def width(columns: tuple[Column, ...]) -> int:
    """Return about how many bytes a row of these columns has."""
    return sum(_WIDTHS.get(c.datatype, 8) for c in columns)


def rows_of(body: Body) -> float:
    """Return about how many rows a query has."""
    if isinstance(body, Combined):
        return rows_of(body.left) + rows_of(body.right)
    rows = _joined(body)
    if body.grouped:
        rows = _groups(body, rows)
    return rows if body.limit is None else min(rows, float(body.limit))


def _groups(body: Select, rows: float) -> float:
    """Return about how many groups there are: measured numbers tell all rows apart."""
    if not body.groups:
        return 1.0
    return rows if any(map(_measured, body.groups)) else min(rows, rows * 0.1 + 1)


def _measured(node: Expression) -> bool:
    match node:
        case Cast(argument):
            return _measured(argument)
        case ColumnRef():
            return node.datatype in {DataType.REAL, DataType.DOUBLE}
        case _:
            return False


def joined_rows(body: Body) -> float:
    """Return about how many rows the largest join in a query makes.

    What no equality and no distance joins is multiplied: a cartesian product.
    """
    return max((_needed(select) for select in selects(body)), default=1.0)


def _needed(body: Select) -> float:
    """Return about how many rows a join makes until no more are wanted.

    A condition on several relations may hold for none: then all of them are made.
    """
    rows = _joined(body)
    asked = any(len(relations_of(t)) > 1 and not _links(t) for t in _terms(body))
    if body.limit is None or body.grouped or body.distinct or body.orderings or asked:
        return rows
    return min(rows, float(body.limit))


def _terms(body: Select) -> list[Expression]:
    terms = [t for r in body.relations for t in conjuncts(r.condition)]
    return [*terms, *conjuncts(body.where)]


def _joined(body: Select) -> float:
    """Take the largest of the relations that equalities join, less what filters them.

    A filter on one of them filters its partners: of an object in a cone, the sources.
    """
    terms = _terms(body)
    groups = [frozenset((r.number,)) for r in body.relations]
    product = 1.0
    for term in terms:
        met = [group for group in groups if group & relations_of(term)]
        if len(met) > 1 and _links(term):
            groups = [group for group in groups if group not in met]
            groups.append(frozenset().union(*met))
        elif len(met) > 1:
            product *= _GUESS
    for group in groups:
        joined = [r for r in body.relations if r.number in group]
        product *= max(source_rows(r) for r in joined)
        for relation in joined:
            product *= _kept(relation, body)
    return max(product, _preserved(body))


def _links(term: Expression) -> bool:
    """Whether a term finds the partners of a row, so that no product is made."""
    match term:
        case Near():
            return True
        case Call("=", (one, other)):
            return not relations_of(one) & relations_of(other)
        case _:
            return False


def _preserved(body: Select) -> float:
    """Return about how many rows an outer join keeps at least."""
    joins = {r.join for r in body.relations}
    if not joins & {JoinKind.LEFT, JoinKind.FULL}:
        return 0.0
    first, *_ = body.relations
    return source_rows(first) * _kept(first, body)


def _kept(relation: Relation, body: Select) -> float:
    """Return about which share of a relation's rows WHERE keeps."""
    rows = source_rows(relation)
    share = 1.0
    for term in conjuncts(body.where):
        if relations_of(term) == {relation.number}:
            share *= _share(term, relation, rows)
    return share


def source_rows(relation: Relation) -> float:
    """Return about how many rows a relation has, before any condition."""
    match relation.source:
        case TableVersion() as version:
            return float(version.rows)
        case StageRows(rows=rows):
            return rows
        case Shared(body=body) | (Select() | Combined() as body):
            return rows_of(body)


def _share(term: Expression, relation: Relation, rows: float) -> float:
    match term:
        case Call("=", arguments) if any(_is_key(a, relation) for a in arguments):
            return 1 / max(rows, 1.0)
        case InList(column, items) if _is_key(column, relation):
            return min(1.0, len(items) / max(rows, 1.0))
        case _:
            position = relation.position
            cover = None if position is None else area(term, position)
            return _GUESS if cover is None else _part(cover)


def _is_key(node: Expression, relation: Relation) -> bool:
    """Whether a column names objects, or rows: few rows have any one value."""
    if not isinstance(node, ColumnRef) or relation.stored is None:
        return False
    table = relation.stored.table
    names = {n.lower() for n in (table.key, table.second_key, table.id) if n}
    return node.relation == relation.number and node.column.name.lower() in names


def _part(cover: RangeSet) -> float:
    return float((cover.bounds[:, 1] - cover.bounds[:, 0]).sum()) / _WHOLE
