"""Bind what is more than an expression: subqueries, windows, long lists."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from sqlglot import exp

from qserv.catalog.tables import DataType
from qserv.dialects import geometry
from qserv.dialects.lexis import where_is
from qserv.errors import ParseError, UnsupportedQuery
from qserv.plan import functions, windows
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    InValues,
    Literal,
    Ordering,
    Scalar,
)
from qserv.plan.query import Body, Output, Relation, Select
from qserv.plan.scope import Scope

Bind = Callable[[Any, Scope], Expression]


def in_values(argument: Expression, values: Any) -> Expression:
    """Bind a long list: its first item tells the type of all."""
    kinds = {int: DataType.BIGINT, float: DataType.DOUBLE, str: DataType.VARCHAR}
    sample = Literal(values[0], kinds[type(values[0])])
    compared = functions.operator("=", argument, sample)
    assert isinstance(compared, Call)
    left, right = compared.arguments
    if right.datatype is DataType.DOUBLE:
        values = tuple(map(float, values))
    elif right.datatype is not sample.datatype:
        raise UnsupportedQuery(
            f"a list of {len(values):,} values of type {right.datatype} is not "
            "answered yet"
        )
    return InValues(left, values, right.datatype)


def in_query(argument: Expression, query: Any, scope: Scope) -> Expression:
    """Bind IN with a query."""
    body = _one_column("IN", query, scope)
    (column,) = body.columns
    # Both sides are brought to one type, as the operator = would.
    compared = functions.operator("=", argument, ColumnRef(-1, column))
    assert isinstance(compared, Call)
    left, right = compared.arguments
    if right.datatype is not column.datatype:
        number = next(scope.names.numbers)
        made = functions.cast(ColumnRef(number, column), right.datatype)
        output = Output(made, replace(column, datatype=right.datatype))
        body = Select((Relation(number, "", body),), (output,))
    return InQuery(left, body)


def _body(query: Any, scope: Scope) -> Body:
    assert scope.subquery is not None, "only the FROM of a set operation has none"
    inner = query.this if isinstance(query, exp.Subquery) else query
    return scope.subquery(inner, scope.names, scope)


def _one_column(what: str, query: Any, scope: Scope) -> Body:
    body = _body(query, scope)
    if len(body.columns) != 1:
        raise ParseError(
            f"{where_is(query)}{what} takes a query of one column, "
            f"not of {len(body.columns)}"
        )
    return body


def exists(node: Any, scope: Scope) -> Expression:
    """Bind EXISTS."""
    return Exists(_body(node.this, scope))


def scalar(node: Any, scope: Scope) -> Expression:
    """Bind a subquery that stands for a value."""
    body = _one_column("a value", node, scope)
    place = "" if _gives_one(body) else where_is(node)
    return Scalar(body, body.columns[0].datatype, place)


def _gives_one(body: Body) -> bool:
    """Whether a query gives one row at most, whatever rows there are."""
    if not isinstance(body, Select):
        return False
    return (body.grouped and not body.groups) or body.limit in {0, 1}


def window(node: Any, scope: Scope, bind: Bind) -> Expression:
    """Bind a function before OVER; `bind` binds what is inside."""
    name, given = geometry.name_of(node.this), node.this.expressions
    starred = len(given) == 1 and isinstance(given[0], exp.Star)
    arguments = () if starred else tuple(bind(a, scope) for a in given)
    order = node.args.get("order")
    keys = (
        () if order is None else tuple(_key(k, scope, bind) for k in order.expressions)
    )
    partition = node.args.get("partition_by") or ()
    return windows.window(
        name,
        arguments,
        partition=tuple(bind(p, scope) for p in partition),
        orderings=keys,
        frame=_frame(node.args.get("spec")),
    )


def _key(node: Any, scope: Scope, bind: Bind) -> Ordering:
    return Ordering(
        bind(node.this, scope),
        bool(node.args.get("desc")),
        bool(node.args.get("nulls_first")),
    )


def _frame(spec: Any) -> str:
    """Write a window's frame anew: a bound is a whole number or one of the words."""
    if spec is None:
        return ""
    start = _bound(spec.args.get("start"), spec.args.get("start_side"))
    end = _bound(spec.args.get("end"), spec.args.get("end_side"))
    kind = str(spec.args["kind"]).upper()
    if kind not in {"ROWS", "RANGE"} or (spec.args.get("exclude")):
        raise UnsupportedQuery(f"{kind} in OVER is not answered yet")
    return f"{kind} BETWEEN {start} AND {end or 'CURRENT ROW'}"


def _bound(value: Any, side: Any) -> str:
    if value is None:
        return ""
    side = "" if side is None else str(side).upper()
    if isinstance(value, str):
        said = f"{value.upper()} {side}".strip()
        if said in _BOUNDS:
            return said
    elif isinstance(value, exp.Literal) and value.this.isdigit():
        return f"{int(value.this)} {side}"
    raise ParseError("a bound of ROWS or RANGE is a whole number or UNBOUNDED")


_BOUNDS: Final = {"CURRENT ROW", "UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING"}
