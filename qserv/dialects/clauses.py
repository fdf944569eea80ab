"""The words of clauses: what stands round the values of a query, and names."""

from typing import Any, Final

from sqlglot import exp

from qserv.dialects import lexis, values
from qserv.dialects.lexis import Parts, Rules
from qserv.errors import ParseError, UnsupportedQuery

_CLAUSES: Final = ("from_", "joins", "where", "group", "having", "windows")
_AFTER: Final = ("order", "limit", "offset")
_SELECT: Final = frozenset((*_CLAUSES, *_AFTER, "with_", "distinct"))
_OPERATION: Final = frozenset((*_AFTER, "with_", "distinct"))


def _clauses(node: Any, *keys: str) -> Parts:
    """Say clauses, which stand nowhere else than here."""
    for key in keys:
        part = node.args.get(key)
        for clause in part if isinstance(part, list) else [part] if part else ():
            rule = _PLACED.get(type(clause))
            yield from values.refuse(clause) if rule is None else rule(clause)


def _select(node: Any) -> Parts:
    _refuse_others(node, _SELECT)
    if not node.expressions:
        raise ParseError(f"{lexis.where_is(node)}the select list is empty")
    if node.args.get("joins") and not node.args.get("from_"):
        raise ParseError(f"{lexis.where_is(node)}a JOIN stands after FROM")
    limit = node.args.get("limit")
    top = limit is not None and limit.meta.get("top")
    yield from _clauses(node, "with_")
    yield "SELECT"
    yield None if node.args.get("distinct") else lexis.maybe("ALL")
    yield from _clauses(node, "distinct", *(("limit",) if top else ()))
    for number, item in enumerate(node.expressions):
        yield "," if number else None
        yield from _select_item(item)
    yield from _clauses(node, *_CLAUSES[:-1])
    yield from values.windows(node.args.get("windows") or ())
    yield from _clauses(node, *(k for k in _after(node) if not (top and k == "limit")))


def _after(node: Any) -> tuple[str, ...]:
    """Return the clauses after all others, in order: FETCH stands behind OFFSET."""
    limit = node.args.get("limit")
    fetched = limit is not None and limit.meta.get("fetch")
    return ("order", "offset", "limit") if fetched else _AFTER


def _operation(node: Any) -> Parts:
    _refuse_others(node, _OPERATION)
    yield from _clauses(node, "with_")
    yield from (node.this, node.key.upper())
    yield lexis.maybe("DISTINCT") if node.args.get("distinct") else "ALL"
    yield node.expression
    yield from _clauses(node, *_after(node))


def _subquery(node: Any) -> Parts:
    yield from _clauses(node, "with_")
    yield from ("(", node.this, ")", *_alias(node))
    yield from _clauses(node, "joins", *_after(node))


def _refuse_others(node: Any, known: frozenset[str]) -> None:
    for name in (name for name, part in node.args.items() if part):
        if name not in known | {"this", "expression", "expressions"}:
            raise UnsupportedQuery(f"{name.rstrip('_').upper()} is not answered yet")


def _with(node: Any) -> Parts:
    if node.args.get("recursive"):
        raise UnsupportedQuery("WITH RECURSIVE is not answered yet")
    yield "WITH"
    for number, each in enumerate(node.expressions):
        yield "," if number else None
        _, *alias = _alias(each)
        yield from (*alias, "AS", "(", each.this, ")")


def _alias(node: Any) -> Parts:
    alias = node.args.get("alias")
    columns = alias and alias.args.get("columns")
    yield from (alias and lexis.maybe("AS"), alias and alias.this)
    yield from ("(", columns, ")") if columns else ()


def _select_item(node: Any) -> Parts:
    if isinstance(node, exp.Star):
        return ("*",)
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        return (*values.names(node, "db", "table"), ".", "*")
    if isinstance(node, exp.Alias):
        return (node.this, lexis.maybe("AS"), node.args["alias"])
    return (node,)


def _table(node: Any) -> Parts:
    yield from values.names(node, "catalog", "db", "this")
    if (alias := node.args.get("alias")) is not None:
        yield from (lexis.maybe("AS"), alias.this)
    yield from _clauses(node, "joins")


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
    if fetch := node.meta.get("fetch"):
        return tuple(fetch)
    return ("TOP" if node.meta.get("top") else "LIMIT", node.expression)


def _group(node: Any) -> Parts:
    if not node.expressions:
        raise ParseError(f"{lexis.where_is(node)}GROUP BY takes columns")
    return ("GROUP BY", node.expressions)


_PLACED: Final[Rules] = {
    exp.With: _with,
    exp.Distinct: lambda node: ("DISTINCT", node.expressions),
    exp.From: lambda node: ("FROM", node.this),
    exp.Join: _join,
    exp.Where: lambda node: ("WHERE", node.this),
    exp.Group: _group,
    exp.Having: lambda node: ("HAVING", node.this),
    exp.Order: values.order,
    exp.Limit: _limit,
    exp.Offset: lambda node: ("OFFSET", node.expression, node.meta.get("rows")),
}

RULES: Final[Rules] = {
    exp.Select: _select,
    exp.Union: _operation,
    exp.Except: _operation,
    exp.Intersect: _operation,
    exp.Subquery: _subquery,
    exp.Table: _table,
}
