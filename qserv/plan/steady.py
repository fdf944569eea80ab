"""Which columns of a query may differ when its rows are made again.

Rows that workers keep are made again when they are lost. Sums of floats follow the
order of addition, which follows the threads; which of equal rows a rank or a limit
takes is anybody's guess. A value that differs does no harm where it is only passed on.
As the key of a bucket it may have moved to another one, which was read before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from qserv.catalog.snapshot import TableVersion
from qserv.catalog.tables import DataType
from qserv.plan.expressions import Aggregate, ColumnRef, Expression, Window, walk
from qserv.plan.query import (
    Body,
    Combined,
    Relation,
    Select,
    Shared,
    StageRows,
    clauses,
    subqueries,
)

_EXACT: Final = frozenset({"COUNT", "MIN", "MAX", "MEDIAN"})
_WHOLE: Final = frozenset(
    {DataType.SMALLINT, DataType.INTEGER, DataType.BIGINT, DataType.HUGEINT}
)


@dataclass(frozen=True, slots=True)
class Unsteady:
    """What of a query's rows may differ.

    Parameters
    ----------
    columns
        Names of those whose values may.
    rows
        Whether there may be others.
    """

    columns: frozenset[str] = frozenset()
    rows: bool = False

    def __bool__(self) -> bool:
        """Whether anything may."""
        return self.rows or bool(self.columns)


def unsteady(body: Body, known: Callable[[int], Unsteady]) -> Unsteady:
    """Return what may differ when a query is run again.

    Parameters
    ----------
    body
        The query.
    known
        The same of an earlier stage, by its number.
    """
    match body:
        case Select():
            return _select(body, known)
        case Combined():
            sides = [unsteady(side, known) for side in (body.left, body.right)]
            return _all(body) if any(sides) else Unsteady()


def _select(body: Select, known: Callable[[int], Unsteady]) -> Unsteady:
    inside = {r.number: _source(r, known) for r in body.relations}

    def wavers(node: Expression) -> bool:
        # A subquery may name what wavers out here.
        return any(_wavers(n, inside) for n in walk(node)) or any(
            any(inside.values()) or unsteady(each.body, known)
            for each in subqueries(node)
        )

    rows = any(source.rows for source in inside.values())
    rows |= any(map(wavers, _conditions(body)))
    gathered = body.grouped or body.distinct
    if _ranked(body) or (gathered and (rows or any(map(wavers, _told_apart(body))))):
        return _all(body)
    rows |= body.having is not None and wavers(body.having)
    columns = (o.column.name for o in body.outputs if wavers(o.expression))
    return Unsteady(frozenset(columns), rows)


def _source(relation: Relation, known: Callable[[int], Unsteady]) -> Unsteady:
    match relation.source:
        case StageRows(stage):
            return known(stage)
        case Shared(body=body):
            return unsteady(body, known)
        case TableVersion():
            return Unsteady()
        case inner:
            return unsteady(inner, known)


def _wavers(node: Expression, inside: dict[int, Unsteady]) -> bool:
    match node:
        case ColumnRef(relation, column) if relation in inside:
            return column.name in inside[relation].columns
        case Aggregate(function, _, _, datatype):
            return function not in _EXACT and datatype not in _WHOLE
        case _:
            return False


def _conditions(body: Select) -> Iterator[Expression]:
    yield from (r.condition for r in body.relations if r.condition is not None)
    if body.where is not None:
        yield body.where


def _told_apart(body: Select) -> Iterator[Expression]:
    """Yield what rows are equal or not by."""
    yield from body.groups
    if body.distinct:
        yield from (o.expression for o in body.outputs)


def _ranked(body: Select) -> bool:
    nodes = (node for clause in clauses(body) for node in walk(clause))
    return body.limit is not None or any(isinstance(n, Window) for n in nodes)


def _all(body: Body) -> Unsteady:
    return Unsteady(frozenset(c.name for c in body.columns), rows=True)
