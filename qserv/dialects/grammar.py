"""What is heard must be what is said: nothing that a user writes is ignored.

sqlglot reads the words of many languages, and drops what it has no place for: a comma
at the end of a list, ``FINAL``, the ``x`` of ``* AS x``. So the tree says its words
again, by the rules below, and they must be the words of the text. A kind of node
without a rule is refused, and so is a part of a node that its rule does not say: the
rules are the grammar that is accepted.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from qserv.dialects import lexis
from qserv.errors import ParseError, UnsupportedQuery

Words = list[str]
Parts = Iterable[Any]
"""Words as they are, syntax nodes, and lists of nodes that commas part; None is not."""


class Plus(exp.Unary):
    """A sign that changes nothing: sqlglot would drop it, before a text too."""


def check(tree: exp.Expression, text: str, tokens: Sequence[Token]) -> None:
    """Check that a tree says what the text says, in words that are accepted.

    Parameters
    ----------
    tree
        As parsed, before anything was rewritten.
    text, tokens
        What it was parsed from.

    Raises
    ------
    ParseError
        If a word of the text is not in the tree; says line and column.
    UnsupportedQuery
        If there is no rule for a kind of node.
    """
    heard = lexis.hear(text, tokens)
    said: Words = []
    _say(tree, said)
    # ``x NOT IN …`` and ``NOT x IN …`` are one tree, so NOT is only counted.
    plain = [word for word in said if word != "NOT"]
    at = 0
    for word, token in heard:
        if word != "NOT":
            if at == len(plain) or plain[at] != word:
                _misplaced(token)
            at += 1
    if at < len(plain) or len(said) != len(heard):
        _misplaced(tokens[-1])


def _misplaced(token: Token) -> NoReturn:
    place = lexis.place(token)
    raise ParseError(f"{place}this does not belong here, near «{token.text}»")


def _refuse(node: Any) -> NoReturn:
    what = "a subquery" if isinstance(node, exp.Query) else node.key.upper()
    if isinstance(node, exp.Mod):
        what = "the sign % (write MOD(x, y))"
    raise UnsupportedQuery(f"{lexis.where_is(node)}{what} is not answered yet")


def _say(node: Any, words: Words) -> None:
    rule = _RULES.get(type(node))
    if rule is None:
        _refuse(node)
    for part in rule(node):
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, list):
            _say_list(part, words)
        elif part is not None:
            _say(part, words)


def _say_list(nodes: Sequence[Any], words: Words) -> None:
    for number, node in enumerate(nodes):
        if number:
            words.append(",")
        _say(node, words)


_CLAUSES: Final = ("from_", "joins", "where", "group", "having", "order")


def _select(node: Any) -> Parts:
    _refuse_other_clauses(node)
    limit = node.args.get("limit")
    top = limit is not None and limit.meta.get("top")
    yield from ("SELECT", node.args.get("distinct"), limit if top else None)
    for number, item in enumerate(node.expressions):
        yield "," if number else None
        yield from _select_item(item)
    for clause in _CLAUSES:
        part = node.args.get(clause)
        yield from part if isinstance(part, list) else (part,)
    yield from (None if top else limit, node.args.get("offset"))


def _refuse_other_clauses(node: Any) -> None:
    known = {*_CLAUSES, "distinct", "limit", "expressions", "offset"}
    for name in (name for name, part in node.args.items() if part):
        if name not in known:
            raise UnsupportedQuery(f"{name.rstrip('_').upper()} is not answered yet")


def _select_item(node: Any) -> Parts:
    if isinstance(node, exp.Star):
        return ("*",)
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        return (*_names(node, "db", "table"), ".", "*")
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
    alias = node.args.get("alias")
    return (*_names(node, "catalog", "db", "this"), alias and alias.this)


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
    if not (any(parts) or on or using):
        return (",", node.this)
    if bool(on or using) == (method == "NATURAL" or "CROSS" in kind):
        wanted = "no condition" if on or using else "ON or USING"
        raise ParseError(f"{where}{' '.join(named)} takes {wanted}")
    condition = ("ON", on) if on else ("USING", "(", using, ")") if using else ()
    return (*named, node.this, *condition)


def _limit(node: Any) -> Parts:
    return ("TOP" if node.meta.get("top") else "LIMIT", node.expression)


def _ordered(node: Any) -> Parts:
    return (node.this, "DESC" if node.args.get("desc") else None)


def _literal(node: Any) -> Parts:
    said = lexis.text_literal if node.is_string else lexis.number
    return (said(node.this),)


def _call(node: Any) -> Parts:
    name, given = node.this, node.expressions
    name = name if isinstance(name, exp.Expr) else lexis.spelled(name)
    if node.name.upper() == "COUNT" and [type(g) for g in given] == [exp.Star]:
        return (name, "(", "*", ")")
    return (name, "(", given, ")")


def _cast(node: Any) -> Parts:
    kind = lexis.spelled(node.to.args.get("kind") or node.to.this.name)
    size = node.to.expressions
    return ("CAST", "(", node.this, kind, *(("(", size, ")") if size else ()), ")")


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
    return (
        _value(node, "this"),
        "IN",
        node.args.get("query"),
        "(",
        node.expressions,
        ")",
    )


def _like(node: Any) -> Parts:
    said = _compared(type(node).__name__.upper())(node)
    return ("NOT" if node.args.get("negate") else None, *said)


def _compared(sign: str) -> Callable[[Any], Parts]:
    return lambda node: (_value(node, "this"), sign, _value(node, "expression"))


def _value(node: Any, key: str) -> Any:
    """Return a side of a comparison: ``a < b < c`` is not one."""
    side = node.args.get(key)
    if isinstance(side, exp.Predicate | exp.Not | exp.Connector | exp.Escape):
        raise ParseError(
            f"{lexis.where_is(node)}{node.key.upper()} compares values, and one side "
            "is a predicate: join predicates by AND, or put brackets round it"
        )
    return side


def _binary(sign: str) -> Callable[[Any], Parts]:
    return lambda node: (node.this, sign, node.expression)


_RULES: Final[dict[type[exp.Expr], Callable[[Any], Parts]]] = {
    exp.Select: _select,
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
    exp.Alias: lambda node: (node.this, node.args["alias"]),
    exp.Star: _star,
    exp.Column: _column,
    exp.Identifier: _identifier,
    exp.Literal: _literal,
    exp.Boolean: lambda node: ("TRUE" if node.this else "FALSE",),
    exp.Null: lambda _: ("NULL",),
    exp.Paren: lambda node: ("(", node.this, ")"),
    exp.Neg: lambda node: ("-", node.this),
    Plus: lambda node: ("+", node.this),
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
    exp.Add: _binary("+"),
    exp.Sub: _binary("-"),
    exp.Mul: _binary("*"),
    exp.Div: _binary("/"),
    exp.DPipe: _binary("||"),
    exp.EQ: _compared("="),
    exp.NEQ: _compared("<>"),
    exp.LT: _compared("<"),
    exp.GT: _compared(">"),
    exp.LTE: _compared("<="),
    exp.GTE: _compared(">="),
    exp.Is: _compared("IS"),
    exp.Like: _like,
    exp.ILike: _like,
}
