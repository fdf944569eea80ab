"""One syntax node to one typed expression: the heart of binding.

Default deny: a kind of syntax node that has no case here is refused.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, Final

from sqlglot import exp

from qserv.catalog.tables import DataType
from qserv.dialects import geometry
from qserv.dialects.lexis import where_is
from qserv.dialects.nodes import LongList, Plus
from qserv.errors import InvalidValue, ParseError, TypeMismatch, UnsupportedQuery
from qserv.plan import functions, inner, places, windows
from qserv.plan.aggregates import AGGREGATES
from qserv.plan.depth import relations_of
from qserv.plan.expressions import (
    Call,
    Cast,
    Expression,
    InList,
    Literal,
    has_aggregate,
    has_window,
)
from qserv.plan.scope import Scope

_BINARY: Final[dict[type[exp.Expression], str]] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.DPipe: "||",
    exp.And: "AND",
    exp.Or: "OR",
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.GT: ">",
    exp.LTE: "<=",
    exp.GTE: ">=",
    exp.Like: "LIKE",
    exp.ILike: "ILIKE",
}
_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_MIRROR: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
TARGETS: Final = {
    "SMALLINT": DataType.SMALLINT,
    "INT": DataType.INTEGER,
    "BIGINT": DataType.BIGINT,
    "FLOAT": DataType.REAL,
    "DOUBLE": DataType.DOUBLE,
    "CHAR": DataType.VARCHAR,
    "VARCHAR": DataType.VARCHAR,
    "TIMESTAMP": DataType.TIMESTAMP,
}


def bind_expression(node: Any, scope: Scope) -> Expression:
    """Turn a syntax node into a typed expression.

    Parameters
    ----------
    node
        The syntax node.
    scope
        What its names may mean.

    Raises
    ------
    UnknownName, TypeMismatch, ParseError, InvalidValue
        If the query is wrong.
    UnsupportedQuery
        If this kind of expression is not answered yet.
    """
    if (symbol := _BINARY.get(type(node))) is not None:
        return _binary(symbol, node, scope)
    if (binder := _BINDERS.get(type(node))) is not None:
        return binder(node, scope)
    raise UnsupportedQuery(
        f"{where_is(node)}{node.key.upper()} is not answered yet in an expression"
    )


def _binary(symbol: str, node: exp.Expression, scope: Scope) -> Expression:
    left = bind_expression(node.this, scope)
    right = bind_expression(node.expression, scope)
    if symbol in _ARITHMETIC and (folded := _fold(symbol, left, right)):
        return folded
    mirrored = places.near(_MIRROR.get(symbol, ""), right, left)
    near = places.near(symbol, left, right) or mirrored
    found = near or functions.operator(symbol, left, right)
    # sqlglot keeps the NOT of NOT LIKE inside the node.
    return functions.operator("NOT", found) if node.args.get("negate") else found


def _fold(symbol: str, left: Expression, right: Expression) -> Literal | None:
    """Work out arithmetic on numbers, so that ``5./3600`` is a constant radius."""
    if not (isinstance(left, Literal) and isinstance(right, Literal)):
        return None
    result = functions.operator(symbol, left, right)
    a, b = left.value, right.value
    if (
        result.datatype is not DataType.DOUBLE
        or isinstance(a, str)
        or isinstance(b, str)
    ):
        return None
    if symbol == "/" and not b:
        return None
    value = _ARITHMETIC[symbol](float(a), float(b))
    told = math.isfinite(value) and (value or math.copysign(1, value) > 0)
    return Literal(value, DataType.DOUBLE) if told else None


def truth(node: Expression, clause: str) -> Expression:
    """Return a predicate, or refuse what is none.

    Raises
    ------
    TypeMismatch
        If the expression is no predicate.
    """
    if node.datatype is not DataType.BOOLEAN:
        raise TypeMismatch(
            f"{clause} takes a predicate, not {node.datatype}: compare it with "
            "something, as in CONTAINS(...) = 1"
        )
    return node


def _column(node: Any, scope: Scope) -> Expression:
    if isinstance(node.this, exp.Star):
        raise ParseError("* stands only in the select list and in COUNT(*)")
    return scope.column(node)


def _literal(node: Any, scope: Scope) -> Expression:
    del scope
    if node.is_string:
        return Literal(node.this, DataType.VARCHAR)
    if node.this.isdigit():
        return _whole(int(node.this))
    try:
        value = float(node.this)
    except ValueError as error:
        raise ParseError(f"{node.this} is no number") from error
    if value in {float("inf"), float("-inf")}:
        raise InvalidValue(f"{node.this} is larger than any DOUBLE")
    return Literal(value, DataType.DOUBLE)


def _whole(value: int) -> Literal:
    if not -(2**63) <= value < 2**63:
        raise InvalidValue(f"{value} is larger than any BIGINT: write {value}.0")
    return Literal(value, DataType.BIGINT)


def _boolean(node: Any, scope: Scope) -> Expression:
    del scope
    return Literal(bool(node.this), DataType.BOOLEAN)


def _negate(node: Any, scope: Scope) -> Expression:
    if isinstance(node.this, exp.Literal) and node.this.this.isdigit():
        return _whole(-int(node.this.this))
    below = bind_expression(node.this, scope)
    # -0.0 equals 0.0, but ATAN2 tells them apart: it stays an operation.
    if isinstance(below, Literal) and isinstance(below.value, float) and below.value:
        return Literal(-below.value, below.datatype)
    return functions.operator("NEGATE", below)


def _plus(node: Any, scope: Scope) -> Expression:
    below = bind_expression(node.this, scope)
    if not below.datatype.is_numeric:
        raise TypeMismatch(f"+ takes a number, not {below.datatype}")
    return below


def _paren(node: Any, scope: Scope) -> Expression:
    return bind_expression(node.this, scope)


def _not(node: Any, scope: Scope) -> Expression:
    return functions.operator("NOT", bind_expression(node.this, scope))


def _is(node: Any, scope: Scope) -> Expression:
    below = bind_expression(node.this, scope)
    match node.expression:
        case exp.Null():
            return functions.operator("IS NULL", below)
        case exp.Boolean():
            truth = "IS TRUE" if node.expression.this else "IS FALSE"
            return functions.operator(truth, below)
        case _:
            raise ParseError(f"{where_is(node)}IS is followed by NULL or NOT NULL")


def _between(node: Any, scope: Scope) -> Expression:
    parts = (bind_expression(node.args[k], scope) for k in ("this", "low", "high"))
    return functions.operator("BETWEEN", *parts)


def _in(node: Any, scope: Scope) -> Expression:
    argument = bind_expression(node.this, scope)
    if (query := node.args.get("query")) is not None:
        return inner.in_query(argument, query, scope)
    if isinstance(node.expressions[0], LongList):
        return inner.in_values(argument, node.expressions[0].values)
    items = (bind_expression(item, scope) for item in node.expressions)
    compared = [functions.operator("=", argument, item) for item in items]
    # The operator has typed each item against the argument: keep what it made.
    sides = [c.arguments for c in compared if isinstance(c, Call)]
    return InList(sides[0][0], tuple(right for _, right in sides))


def _escape(node: Any, scope: Scope) -> Expression:
    like, escape = node.this, bind_expression(node.expression, scope)
    name = f"{_BINARY[type(like)]} ESCAPE"
    sides = [bind_expression(side, scope) for side in (like.this, like.expression)]
    _check_escape(sides[1], escape)
    found = functions.operator(name, *sides, escape)
    return functions.operator("NOT", found) if like.args.get("negate") else found


def _check_escape(pattern: Expression, escape: Expression) -> None:
    if not isinstance(escape, Literal) or len(str(escape.value)) != 1:
        raise InvalidValue("ESCAPE takes one character")
    if isinstance(pattern, Literal):
        rest = str(pattern.value).replace(str(escape.value) * 2, "")
        if rest.endswith(str(escape.value)):
            raise InvalidValue("a pattern of LIKE ends with its escape character")


def _cast(node: Any, scope: Scope) -> Expression:
    target = TARGETS.get(node.to.this.name)
    if target is None or (target is not DataType.VARCHAR and node.to.expressions):
        raise UnsupportedQuery(
            f"CAST to {node.to.sql()} is not answered yet; the types are "
            "SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, VARCHAR, TIMESTAMP"
        )
    if node.to.expressions:
        raise UnsupportedQuery("CAST to a length is not answered yet: write VARCHAR")
    argument = bind_expression(node.this, scope)
    if not functions.castable(argument.datatype, target):
        raise TypeMismatch(f"CAST makes no {target} of a {argument.datatype}")
    return Cast(argument, target)


def _case(node: Any, scope: Scope) -> Expression:
    operand = node.this and bind_expression(node.this, scope)
    branches = []
    for branch in node.args["ifs"]:
        condition = bind_expression(branch.this, scope)
        if operand is not None:
            condition = functions.operator("=", operand, condition)
        branches.append((condition, bind_expression(branch.args["true"], scope)))
    default = node.args.get("default")
    if default is None or isinstance(default, exp.Null):
        return functions.case(tuple(branches), None)
    return functions.case(tuple(branches), bind_expression(default, scope))


def _call(node: Any, scope: Scope) -> Expression:
    geometry.refuse_bare(node)
    name = geometry.name_of(node)
    if name in AGGREGATES:
        return _aggregate(name, node, scope)
    arguments = tuple(bind_expression(a, scope) for a in node.expressions)
    return functions.function(node.name, arguments)


def _aggregate(name: str, node: Any, scope: Scope) -> Expression:
    given, distinct = node.expressions, False
    if len(given) == 1 and isinstance(given[0], exp.Distinct):
        given, distinct = given[0].expressions, True
    if not given:
        raise TypeMismatch(f"{name} takes an expression, not none")
    starred = len(given) == 1 and isinstance(given[0], exp.Star)
    arguments = () if starred else tuple(bind_expression(g, scope) for g in given)
    if any(has_aggregate(a) or has_window(a) for a in arguments):
        raise TypeMismatch(f"{where_is(node)}an aggregate inside an aggregate")
    _check_own(node, arguments, scope)
    made = windows.aggregate(name, arguments, distinct=distinct)
    # MIN and MAX give what is there; a sum may be more than any DOUBLE.
    sums = made.datatype is DataType.DOUBLE and name not in {"MIN", "MAX"}
    return functions.finite(made) if sums else made


def _check_own(node: Any, arguments: functions.Arguments, scope: Scope) -> None:
    """Refuse an aggregate of outer columns: it belongs to the query around."""
    used = {number for a in arguments for number in relations_of(a)}
    own = {r.number for r in scope.relations}
    if used and not used & own:
        raise UnsupportedQuery(
            f"{where_is(node)}an aggregate of an outer query's columns is not "
            "answered yet"
        )


def _place(node: Any, scope: Scope) -> Expression:
    return places.place(node, [bind_expression(n, scope) for n in node.expressions])


_BINDERS: Final[dict[type[exp.Expression], Callable[[Any, Scope], Expression]]] = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Neg: _negate,
    Plus: _plus,
    exp.Paren: _paren,
    exp.Not: _not,
    exp.Is: _is,
    exp.Between: _between,
    exp.In: _in,
    exp.Escape: _escape,
    exp.Cast: _cast,
    exp.Case: _case,
    exp.Anonymous: _call,
    exp.Exists: inner.exists,
    exp.Subquery: inner.scalar,
    exp.Window: lambda node, scope: inner.window(node, scope, bind_expression),
    geometry.Separation: _place,
    geometry.InCircle: _place,
    geometry.InPolygon: _place,
    geometry.InMoc: _place,
    geometry.HealpixIndex: _place,
}
