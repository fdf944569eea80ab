"""The words of clauses: what stands round the values of a query, and names."""

from typing import Any, Final, NoReturn

from sqlglot import exp

from qserv.dialects import lexis
from qserv.dialects.lexis import Parts, Rules
from qserv.errors import ParseError, UnsupportedQuery

_CLAUSES: Final = ("from_", "joins", "where", "group", "having", "order")
_SELECT: Final = frozenset((*_CLAUSES, "with_", "distinct", "limit", "offset"))
_OPERATION: Final = frozenset(("with_", "distinct", "order", "limit", "offset"))


def _select(node: Any) -> Parts:
    _refuse_others(node, _SELECT)
    limit = node.args.get("limit")
    top = limit is not None and limit.meta.get("top")
    yield from (node.args.get("with_"), "SELECT", node.args.get("distinct"))
    yield limit if top else None
    for number, item in enumerate(node.expressions):
        yield "," if number else None
        yield from _select_item(item)
    for clause in _CLAUSES:
        part = node.args.get(clause)
        yield from part if isinstance(part, list) else (part,)
    yield from (None if top else limit, node.args.get("offset"))


def _operation(node: Any) -> Parts:
    _refuse_others(node, _OPERATION)
    yield from (node.args.get("with_"), node.this, node.key.upper())
    yield None if node.args.get("distinct") else "ALL"
    yield from (node.expression, *_after(node))


def _subquery(node: Any) -> Parts:
    yield from (node.args.get("with_"), "(", node.this, ")")
    yield from _alias(node)
    yield from (*(node.args.get("joins") or ()), *_after(node))


def _after(node: Any) -> Parts:
    return tuple(node.args.get(clause) for clause in ("order", "limit", "offset"))


def _refuse_others(node: Any, known: frozenset[str]) -> None:
    for name in (name for name, part in node.args.items() if part):
        if name not in known | {"this", "expression", "expressions"}:
            raise UnsupportedQuery(f"{name.rstrip('_').upper()} is not answered yet")


def _with(node: Any) -> Parts:
    if node.args.get("recursive"):
        raise UnsupportedQuery("WITH RECURSIVE is not answered yet")
    return ("WITH", node.expressions)


def _alias(node: Any) -> Parts:
    alias = node.args.get("alias")
    columns = alias and alias.args.get("columns")
    return (alias and alias.this, *(("(", columns, ")") if columns else ()))


def _alias_elsewhere(node: Any) -> NoReturn:
    where = lexis.where_is(node.args["alias"])
    raise ParseError(f"{where}only a column of the select list has a name")


def _select_item(node: Any) -> Parts:
    if isinstance(node, exp.Star):
        return ("*",)
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        return (*_names(node, "db", "table"), ".", "*")
    if isinstance(node, exp.Alias):
        return (node.this, node.args["alias"])
    return (node,)


def _star(node: Any) -> NoReturn:
    del node
    raise ParseError("* stands only in the select list and in COUNT(*)")


def _identifier(node: Any) -> Parts:
    in_quotes = bool(node.args.get("quoted"))
    if not in_quotes and node.name.upper() in lexis.RESERVED:
        raise ParseError(
            f"{lexis.where_is(node)}{node.name.upper()} is a reserved word: "
            "put it in quotes to use it as a name"
        )
    return (lexis.name(node.name, in_quotes=in_quotes),)


def _names(node: Any, *keys: str) -> Parts:
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
    return _names(node, "db", "table", "this")


def _table(node: Any) -> Parts:
    alias, joins = node.args.get("alias"), node.args.get("joins") or ()
    return (*_names(node, "catalog", "db", "this"), alias and alias.this, *joins)


_JOINS: Final = {
    ("", ""),
    ("", "INNER"),
    ("", "CROSS"),
    *((side, kind) for side in ("LEFT", "RIGHT", "FULL") for kind in ("", "OUTER")),
}


def _join(node: Any) -> Parts:
    method, *kind = parts = [node.method.upper(), node.side.upper(), node.kind.upper()]
    named = [*filter(None, parts), "JOIN"]
    where = lexis.where_is(node)
    if method not in {"", "NATURAL"} or tuple(kind) not in _JOINS:
        raise UnsupportedQuery(f"{where}{' '.join(named)} is not answered yet")
    on, using = node.args.get("on"), node.args.get("using")
    if not node.meta.get("join"):
        return (",", node.this)
    free = method == "NATURAL" or "CROSS" in kind
    if bool(on or using) == free or (method and "CROSS" in kind):
        wanted = "no condition" if on or using else "ON or USING"
        raise ParseError(f"{where}{' '.join(named)} takes {wanted}")
    condition = ("ON", on) if on else ("USING", "(", using, ")") if using else ()
    return (*named, node.this, *condition)


def _limit(node: Any) -> Parts:
    return ("TOP" if node.meta.get("top") else "LIMIT", node.expression)


def _ordered(node: Any) -> Parts:
    yield from (node.this, "DESC" if node.args.get("desc") else None)
    if node.args.get("nulls_first") or node.meta.get("nulls_last"):
        yield from ("NULLS", "FIRST" if node.args.get("nulls_first") else "LAST")


RULES: Final[Rules] = {
    exp.Select: _select,
    exp.Union: _operation,
    exp.Except: _operation,
    exp.Intersect: _operation,
    exp.Subquery: _subquery,
    exp.With: _with,
    exp.CTE: lambda node: (*_alias(node), "(", node.this, ")"),
    exp.From: lambda node: ("FROM", node.this),
    exp.Table: _table,
    exp.Join: _join,
    exp.Where: lambda node: ("WHERE", node.this),
    exp.Group: lambda node: ("GROUP BY", node.expressions),
    exp.Having: lambda node: ("HAVING", node.this),
    exp.Order: lambda node: ("ORDER BY", node.expressions),
    exp.Ordered: _ordered,
    exp.Limit: _limit,
    exp.Offset: lambda node: ("OFFSET", node.expression),
    exp.Distinct: lambda node: ("DISTINCT", node.expressions),
    exp.Alias: _alias_elsewhere,
    exp.Star: _star,
    exp.Column: _column,
    exp.Identifier: _identifier,
}
