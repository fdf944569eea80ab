"""The words of values: literals, calls, operators, predicates, windows."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from sqlglot import exp

from qserv.dialects import lexis
from qserv.dialects.lexis import Parts, Rules
from qserv.dialects.nodes import LongList, Plus
from qserv.errors import ParseError, UnsupportedQuery


def refuse(node: Any) -> NoReturn:
    """Refuse a kind of node by its name."""
    what = _NAMED.get(type(node), node.key.upper())
    raise UnsupportedQuery(f"{lexis.where_is(node)}{what} is not answered yet")


_NAMED: Final = {
    exp.Mod: "the sign % (write MOD(x, y))",
    exp.Filter: "FILTER (write CASE inside the aggregate)",
    exp.Tuple: "a row of values, as (a, b),",
    exp.Any: "a comparison with ANY or SOME (write IN or MAX)",
    exp.All: "a comparison with ALL (write NOT IN or MAX)",
}


def _identifier(node: Any) -> Parts:
    in_quotes = bool(node.args.get("quoted"))
    if not (in_quotes or lexis.NAME.fullmatch(node.name)):
        raise ParseError(f"{lexis.where_is(node)}{node.name} is no name")
    if not in_quotes and node.name.upper() in lexis.RESERVED:
        raise ParseError(
            f"{lexis.where_is(node)}{node.name.upper()} is a reserved word: "
            "put it in quotes to use it as a name"
        )
    return (lexis.name(node.name, in_quotes=in_quotes),)


def names(node: Any, *keys: str) -> Parts:
    """Say the parts of a name with dots between them."""
    for number, part in enumerate(
        p for k in keys if (p := node.args.get(k)) is not None
    ):
        if not isinstance(part, exp.Identifier):
            raise ParseError(
                "a table is named by release.table, a column by table.column"
            )
        yield "." if number else None
        yield part


def _column(node: Any) -> Parts:
    return names(node, "db", "table", "this")


def _star(node: Any) -> NoReturn:
    del node
    raise ParseError("* stands only in the select list and in COUNT(*)")


def _alias_elsewhere(node: Any) -> NoReturn:
    where = lexis.where_is(node.args["alias"])
    raise ParseError(f"{where}only a column of the select list has a name")


def _literal(node: Any) -> Parts:
    said = lexis.text_literal if node.is_string else lexis.number
    return (said(node.this),)


def _call(node: Any) -> Parts:
    name, given = node.this, node.expressions
    name = name if isinstance(name, exp.Expr) else lexis.spelled(name)
    if node.name.upper() == "COUNT" and [type(g) for g in given] == [exp.Star]:
        return (name, "(", "*", ")")
    if isinstance(given[0] if given else None, exp.Distinct) and len(given) == 1:
        return (name, "(", "DISTINCT", given[0].expressions, ")")
    return (name, "(", lexis.maybe("ALL") if given else None, given, ")")


def _cast(node: Any) -> Parts:
    kind = lexis.spelled(node.to.args.get("kind") or node.to.this.name)
    size = node.to.expressions
    return (
        "CAST",
        "(",
        node.this,
        "AS",
        kind,
        *(("(", size, ")") if size else ()),
        ")",
    )


def _case(node: Any) -> Parts:
    yield from ("CASE", node.this)
    for branch in node.args["ifs"]:
        yield from ("WHEN", branch.this, "THEN", branch.args["true"])
    if (default := node.args.get("default")) is not None:
        yield from ("ELSE", default)
    yield "END"


def _between(node: Any) -> Parts:
    low, high = _value(node, "low"), _value(node, "high")
    return (_value(node, "this"), "BETWEEN", low, "AND", high)


def _in(node: Any) -> Parts:
    query = node.args.get("query")
    if not (query or node.expressions):
        raise ParseError(f"{lexis.where_is(node)}IN takes values or a subquery")
    among = (query,) if query else ("(", [*map(_listed, node.expressions)], ")")
    return (_value(node, "this"), "IN", *among)


def _listed(node: Any) -> Any:
    return lexis.list_word(node.name) if isinstance(node, LongList) else node


def order(node: Any) -> Parts:
    """Say ORDER BY, of a query or of a window."""
    yield "ORDER BY"
    if not node.expressions:
        raise ParseError(f"{lexis.where_is(node)}ORDER BY takes columns")
    for number, each in enumerate(node.expressions):
        yield "," if number else None
        yield from _ordered(each)


def _ordered(node: Any) -> Parts:
    yield node.this
    yield "DESC" if node.args.get("desc") else lexis.maybe("ASC")
    if node.args.get("nulls_first") or node.meta.get("nulls_last"):
        yield from ("NULLS", "FIRST" if node.args.get("nulls_first") else "LAST")


def _window(node: Any) -> Parts:
    if not isinstance(node.this, exp.Anonymous):
        refuse(node.this)
    name = node.args.get("alias")
    bracket = lexis.maybe if name else str
    yield from (node.this, "OVER", bracket("("), name)
    yield from _spec(node)
    yield bracket(")")


def windows(named: Sequence[Any]) -> Parts:
    """Say the clause WINDOW."""
    for number, each in enumerate(named):
        yield "," if number else "WINDOW"
        yield from (each.this, "AS", "(", each.args.get("alias"))
        yield from _spec(each)
        yield ")"


def _spec(node: Any) -> Parts:
    partition = node.args.get("partition_by")
    yield from ("PARTITION BY", partition) if partition else ()
    yield from order(found) if (found := node.args.get("order")) else ()
    yield from _frame(found) if (found := node.args.get("spec")) else ()


def _frame(node: Any) -> Parts:
    unknown = "EXCLUDE" if node.args.get("exclude") else node.args["kind"].upper()
    if unknown not in {"ROWS", "RANGE"}:
        raise UnsupportedQuery(f"a window with {unknown} is not answered yet")
    first = _rank(node, "start")
    last = _rank(node, "end") if node.args.get("end") else _NOW
    if not (first <= last and first < len(_BOUNDS) - 1 and last > 0):
        raise ParseError("a window begins before it ends: 1 PRECEDING AND CURRENT ROW")
    yield unknown
    if node.args.get("end"):
        yield from ("BETWEEN", *_bound(node, "start"), "AND", *_bound(node, "end"))
    else:
        yield from _bound(node, "start")


_BOUNDS: Final = (
    ("UNBOUNDED", "PRECEDING"),
    (None, "PRECEDING"),
    ("CURRENT ROW", None),
    (None, "FOLLOWING"),
    ("UNBOUNDED", "FOLLOWING"),
)
_NOW: Final = 2


def _rank(node: Any, key: str) -> int:
    bound, side = node.args.get(key), node.args.get(f"{key}_side")
    spelled = bound if isinstance(bound, str) else None, side and side.upper()
    if bound is None or spelled not in _BOUNDS:
        raise ParseError(
            "a window begins and ends at … PRECEDING, … FOLLOWING, CURRENT ROW"
        )
    return _BOUNDS.index(spelled)


def _bound(node: Any, key: str) -> Parts:
    bound, side = node.args[key], node.args.get(f"{key}_side")
    yield from bound.split() if isinstance(bound, str) else (bound,)
    yield side and side.upper()


def _like(node: Any) -> Parts:
    said = _between_values(type(node).__name__.upper())(node)
    return ("NOT" if node.args.get("negate") else None, *said)


def _between_values(sign: str) -> Callable[[Any], Parts]:
    return lambda node: (_value(node, "this"), sign, _value(node, "expression"))


def _value(node: Any, key: str) -> Any:
    """Return a side of an operator that takes values: ``a < b < c`` has none."""
    side = node.args.get(key)
    if isinstance(side, exp.All | exp.Any):
        refuse(side)
    if isinstance(side, exp.Predicate | exp.Not | exp.Connector | exp.Escape):
        raise ParseError(
            f"{lexis.where_is(node)}{node.key.upper()} takes values, and one side "
            "is a predicate: join predicates by AND, or put brackets round it"
        )
    return side


def _binary(sign: str) -> Callable[[Any], Parts]:
    return lambda node: (node.this, sign, node.expression)


def _signed(sign: str) -> Callable[[Any], Parts]:
    return lambda node: (sign, _value(node, "this"))


RULES: Final[Rules] = {
    exp.Alias: _alias_elsewhere,
    exp.Star: _star,
    exp.Column: _column,
    exp.Identifier: _identifier,
    exp.Exists: lambda node: ("EXISTS", "(", node.this, ")"),
    exp.Window: _window,
    exp.Literal: _literal,
    exp.Boolean: lambda node: ("TRUE" if node.this else "FALSE",),
    exp.Null: lambda _: ("NULL",),
    exp.Paren: lambda node: ("(", node.this, ")"),
    exp.Neg: _signed("-"),
    Plus: _signed("+"),
    exp.Not: lambda node: ("NOT", node.this),
    exp.Anonymous: _call,
    exp.Between: _between,
    exp.In: _in,
    exp.Escape: lambda node: (node.this, "ESCAPE", node.expression),
    exp.Cast: _cast,
    exp.DataTypeParam: lambda node: (node.this,),
    exp.Case: _case,
    exp.And: _binary("AND"),
    exp.Or: _binary("OR"),
    exp.Add: _between_values("+"),
    exp.Sub: _between_values("-"),
    exp.Mul: _between_values("*"),
    exp.Div: _between_values("/"),
    exp.DPipe: _between_values("||"),
    exp.EQ: _between_values("="),
    exp.NEQ: _between_values("<>"),
    exp.LT: _between_values("<"),
    exp.GT: _between_values(">"),
    exp.LTE: _between_values("<="),
    exp.GTE: _between_values(">="),
    exp.Is: _between_values("IS"),
    exp.Like: _like,
    exp.ILike: _like,
}
