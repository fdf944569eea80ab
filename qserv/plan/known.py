"""What the snapshot knows of whole tables: how many rows, least and greatest values.

``SELECT COUNT(*), MIN(mjd), MAX(mjd) FROM Source`` reads no chunk. The counts are of
live rows; the values were taken from the rows themselves when they were loaded, and
are exact. A column of which they are not known is read.
"""

from typing import Final

from qserv.catalog.snapshot import TableVersion
from qserv.catalog.tables import DataType
from qserv.plan.expressions import (
    Aggregate,
    Call,
    Case,
    Cast,
    ColumnRef,
    Expression,
    InList,
    Literal,
    Null,
    map_children,
    walk,
)
from qserv.plan.plan import Residual
from qserv.plan.query import Body, Select
from qserv.plan.statement import Statement

_CONSTANT: Final = Call | Case | Cast | InList | Literal | Null
_WHY: Final = "answered   from the manifests: no chunk is read"


def known(body: Body) -> Residual | None:
    """Answer a query from what is known of its only table; None if it asks for more."""
    if not isinstance(body, Select) or len(body.relations) > 1 or body.limit == 0:
        return None
    stored = body.relations[0].stored
    extra = (body.where, body.having, body.groups, body.orderings, body.offset)
    if stored is None or not body.grouped or any(extra):
        return None
    values = [_value(o.expression, stored) for o in body.outputs]
    if not all(isinstance(n, _CONSTANT) for value in values for n in walk(value)):
        return None
    statement = Statement()
    sql = f"SELECT {statement.typed(body.columns, values)}"
    bound = tuple(statement.parameters)
    return Residual(sql, bound, body.columns, expected=1.0, why=(_WHY,))


def _value(node: Expression, table: TableVersion) -> Expression:
    """Put values in the place of the aggregates that are known."""
    match node:
        case Aggregate("COUNT", None):
            return Literal(table.rows, DataType.BIGINT)
        case Aggregate("MIN" | "MAX", ColumnRef(column=column)) if (
            column.name in table.bounds
        ):
            ends = table.bounds[column.name]
            if ends is None:
                return Null(node.datatype)
            return _typed(ends[node.function == "MAX"], node.datatype)
        case _:
            return map_children(node, lambda part: _value(part, table))


def _typed(value: float | str, datatype: DataType) -> Expression:
    match value:
        case str():
            return Cast(Literal(value, DataType.VARCHAR), datatype)
        case int():
            return Cast(Literal(value, DataType.BIGINT), datatype)
        case float():
            return Cast(Literal(value, DataType.DOUBLE), datatype)
