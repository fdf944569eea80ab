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


class Plus(exp.Unary):
    """A sign that changes nothing: sqlglot would drop it, before a text too."""


_NO_NAMES: Final = """
    ALL AND ANTI ANY AS ASC ASOF BETWEEN BY CASE CROSS DESC DISTINCT ELSE END EXCEPT
    EXISTS FETCH FINAL FROM FULL GLOBAL GROUP HAVING IN INNER INTERSECT INTO IS JOIN
    LATERAL LEFT LIKE ILIKE LIMIT NATURAL NOT NULL OFFSET ON OR ORDER OUTER OVER
    PERCENT POSITIONAL RIGHT SELECT SEMI SOME THEN TOP UNION USING WHEN WHERE WITH
"""
"""Words that are names only in quotes; some would be joins in other languages."""
RESERVED: Final = frozenset(_NO_NAMES.split())


def where_is(node: exp.Expression) -> str:
    """Return ``line L, column C: `` of a syntax node; empty where unknown."""
    identifier = node.find(exp.Identifier)
    meta = identifier.meta if identifier is not None else node.meta
    if "line" not in meta:
        return ""
    width = meta["end"] - meta["start"]
    return f"line {meta['line']}, column {meta['col'] - width}: "


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
    raise UnsupportedQuery(f"{where_is(node)}{what} is not answered yet")


def _say(node: Any, words: Words) -> None:
    rule = _RULES.get(type(node))
    if rule is None:
        _refuse(node)
    rule(node, words)


def _say_list(nodes: Iterable[Any], words: Words) -> None:
    for number, node in enumerate(nodes):
        if number:
            words.append(",")
        _say(node, words)


_CLAUSES: Final = ("from_", "joins", "where", "group", "having", "order")


def _select(node: Any, words: Words) -> None:
    _refuse_other_clauses(node)
    limit = node.args.get("limit")
    top = limit is not None and limit.meta.get("top")
    words.append("SELECT")
    _say_parts((node.args.get("distinct"), limit if top else None), words)
    for number, item in enumerate(node.expressions):
        if number:
            words.append(",")
        _select_item(item, words)
    for clause in _CLAUSES:
        _say_parts(_listed(node.args.get(clause)), words)
    _say_parts((None if top else limit, node.args.get("offset")), words)


def _refuse_other_clauses(node: Any) -> None:
    known = {*_CLAUSES, "distinct", "limit", "expressions", "offset"}
    for name in (name for name, part in node.args.items() if part):
        if name not in known:
            raise UnsupportedQuery(f"{name.rstrip('_').upper()} is not answered yet")


def _say_parts(nodes: Iterable[Any], words: Words) -> None:
    for node in nodes:
        if node is not None:
            _say(node, words)


def _listed(value: Any) -> list[Any]:
    """Return the nodes of an argument that is a node, a list of them, or nothing."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _select_item(node: Any, words: Words) -> None:
    star = node.this if isinstance(node, exp.Column) else node
    if not isinstance(star, exp.Star):
        _say(node, words)
        return
    if isinstance(node, exp.Column):
        _names((node.args.get("db"), node.args.get("table")), words)
        words.append(".")
    words.append("*")


def _star(node: Any, words: Words) -> None:
    del node, words
    raise ParseError("* stands only in the select list and in COUNT(*)")


def _identifier(node: Any, words: Words) -> None:
    in_quotes = bool(node.args.get("quoted"))
    if not in_quotes and node.name.upper() in RESERVED:
        raise ParseError(
            f"{where_is(node)}{node.name.upper()} is a reserved word: "
            "put it in quotes to use it as a name"
        )
    words.append(lexis.name(node.name, in_quotes=in_quotes))


def _names(names: Iterable[Any], words: Words) -> None:
    for number, name in enumerate(n for n in names if n is not None):
        if not isinstance(name, exp.Identifier):
            raise ParseError(
                "a table is named by release.table, a column by table.column"
            )
        if number:
            words.append(".")
        _identifier(name, words)


def _column(node: Any, words: Words) -> None:
    _names((node.args.get(k) for k in ("db", "table", "this")), words)


def _table(node: Any, words: Words) -> None:
    _names((node.args.get(k) for k in ("catalog", "db", "this")), words)
    if (alias := node.args.get("alias")) is not None:
        _say(alias.this, words)


def _alias(node: Any, words: Words) -> None:
    _say(node.this, words)
    _say(node.args["alias"], words)


_JOINS: Final = {
    ("", ""),
    ("", "INNER"),
    ("", "CROSS"),
    *((side, kind) for side in ("LEFT", "RIGHT", "FULL") for kind in ("", "OUTER")),
}


def _join(node: Any, words: Words) -> None:
    parts = [node.method.upper(), node.side.upper(), node.kind.upper()]
    on, using = node.args.get("on"), node.args.get("using")
    if parts[0] not in {"", "NATURAL"} or (parts[1], parts[2]) not in _JOINS:
        named = " ".join(filter(None, parts))
        raise UnsupportedQuery(f"{where_is(node)}{named} JOIN is not answered yet")
    bare = parts[0] == "NATURAL" or parts[2] == "CROSS"
    conditions = [c for c in (on, using) if c]
    if not any(parts) and not conditions:
        words.append(",")
        _say(node.this, words)
        return
    if len(conditions) != (0 if bare else 1):
        wanted = "no condition" if bare else "ON or USING"
        kind = " ".join([*filter(None, parts), "JOIN"])
        raise ParseError(f"{where_is(node)}{kind} takes {wanted}")
    words += [*filter(None, parts), "JOIN"]
    _say(node.this, words)
    if on is not None:
        words.append("ON")
        _say(on, words)
    elif using is not None:
        words += ["USING", "("]
        _say_list(using, words)
        words.append(")")


def _limit(node: Any, words: Words) -> None:
    words.append("TOP" if node.meta.get("top") else "LIMIT")
    _say(node.expression, words)


def _offset(node: Any, words: Words) -> None:
    words.append("OFFSET")
    _say(node.expression, words)


def _ordered(node: Any, words: Words) -> None:
    _say(node.this, words)
    if node.args.get("desc"):
        words.append("DESC")


def _literal(node: Any, words: Words) -> None:
    said = lexis.text_literal if node.is_string else lexis.number
    words.append(said(node.this))


def _call(node: Any, words: Words) -> None:
    name = node.this
    if isinstance(name, exp.Expr):
        _say(name, words)
    else:
        words.append(lexis.spelled(name))
    words.append("(")
    star = len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Star)
    if star and node.name.upper() == "COUNT":
        words.append("*")
    else:
        _say_list(node.expressions, words)
    words.append(")")


def _distinct(node: Any, words: Words) -> None:
    words.append("DISTINCT")
    _say_list(node.expressions, words)


def _between(node: Any, words: Words) -> None:
    _value(node, node.this, words)
    words.append("BETWEEN")
    _value(node, node.args["low"], words)
    words.append("AND")
    _value(node, node.args["high"], words)


def _in(node: Any, words: Words) -> None:
    _value(node, node.this, words)
    words.append("IN")
    if (query := node.args.get("query")) is not None:
        _say(query, words)
    words.append("(")
    _say_list(node.expressions, words)
    words.append(")")


def _escape(node: Any, words: Words) -> None:
    _say(node.this, words)
    words.append("ESCAPE")
    _say(node.expression, words)


def _cast(node: Any, words: Words) -> None:
    words += ["CAST", "("]
    _say(node.this, words)
    words.append(lexis.spelled(node.to.args.get("kind") or node.to.this.name))
    if node.to.expressions:
        words.append("(")
        _say_list(node.to.expressions, words)
        words.append(")")
    words.append(")")


def _case(node: Any, words: Words) -> None:
    words.append("CASE")
    if node.this is not None:
        _say(node.this, words)
    for branch in node.args["ifs"]:
        words.append("WHEN")
        _say(branch.this, words)
        words.append("THEN")
        _say(branch.args["true"], words)
    if (default := node.args.get("default")) is not None:
        words.append("ELSE")
        _say(default, words)
    words.append("END")


def _like(node: Any, words: Words) -> None:
    if node.args.get("negate"):
        words.append("NOT")
    _compared(type(node).__name__.upper())(node, words)


def _wrapped(*before: str, after: str = "") -> Callable[[Any, Words], None]:
    def say(node: Any, words: Words) -> None:
        words.extend(before)
        _say(node.this, words)
        if after:
            words.append(after)

    return say


def _clause(before: str) -> Callable[[Any, Words], None]:
    def say(node: Any, words: Words) -> None:
        words.append(before)
        _say_list(node.expressions, words)

    return say


def _binary(sign: str) -> Callable[[Any, Words], None]:
    def say(node: Any, words: Words) -> None:
        _say(node.this, words)
        words.append(sign)
        _say(node.expression, words)

    return say


def _compared(sign: str) -> Callable[[Any, Words], None]:
    def say(node: Any, words: Words) -> None:
        _value(node, node.this, words)
        words.append(sign)
        _value(node, node.expression, words)

    return say


def _value(node: Any, side: Any, words: Words) -> None:
    """Say a side of a comparison: ``a < b < c`` is not one."""
    if isinstance(side, exp.Predicate | exp.Not | exp.Connector | exp.Escape):
        raise ParseError(
            f"{where_is(node)}{node.key.upper()} compares values, and one side is a "
            "predicate: join predicates by AND, or put brackets round it"
        )
    _say(side, words)


def _word(word: str) -> Callable[[Any, Words], None]:
    def say(node: Any, words: Words) -> None:
        del node
        words.append(word)

    return say


def _boolean(node: Any, words: Words) -> None:
    words.append("TRUE" if node.this else "FALSE")


_RULES: Final[dict[type[exp.Expr], Callable[[Any, Words], None]]] = {
    exp.Select: _select,
    exp.From: _wrapped("FROM"),
    exp.Table: _table,
    exp.Join: _join,
    exp.Where: _wrapped("WHERE"),
    exp.Group: _clause("GROUP BY"),
    exp.Having: _wrapped("HAVING"),
    exp.Order: _clause("ORDER BY"),
    exp.Ordered: _ordered,
    exp.Limit: _limit,
    exp.Offset: _offset,
    exp.Distinct: _distinct,
    exp.Alias: _alias,
    exp.Star: _star,
    exp.Column: _column,
    exp.Identifier: _identifier,
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: _word("NULL"),
    exp.Paren: _wrapped("(", after=")"),
    exp.Neg: _wrapped("-"),
    Plus: _wrapped("+"),
    exp.Not: _wrapped("NOT"),
    exp.Anonymous: _call,
    exp.Between: _between,
    exp.In: _in,
    exp.Escape: _escape,
    exp.Cast: _cast,
    exp.DataTypeParam: _wrapped(),
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
