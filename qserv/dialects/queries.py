"""Where queries stand in each other: set operations, joins, brackets, as in SQL-92.

sqlglot reads the joins and the set operations of many databases at once, tries some
again at each level (a chain of joins without ON takes it exponential time), and adds
brackets that nobody wrote. `QueryParser` reads the standard's; `plain` then takes away
the brackets that the tree has no more need of.
"""

from typing import Any, Final, NoReturn, TypeVar

from sqlglot import exp, parser
from sqlglot.tokenizer_core import TokenType
from typing_extensions import override

from qserv.dialects.lexis import place, where_is
from qserv.dialects.nodes import Joined
from qserv.errors import ParseError, UnsupportedQuery

Query = exp.Select | exp.SetOperation
_AFTER: Final = {"order": "ORDER BY", "limit": "LIMIT", "offset": "OFFSET"}
_AROUND: Final = {"with_": "WITH", **_AFTER}
_Node = TypeVar("_Node", bound=exp.Expr)


class QueryParser(parser.Parser):
    """The standard's grammar of set operations, joins and orderings."""

    OPTIONAL_ALIAS_TOKEN_CTE = False

    @override
    def _parse_set_operations(self, this: exp.Expr | None) -> exp.Expr | None:
        """UNION and EXCEPT from left to right; INTERSECT binds tighter."""
        if not isinstance(this, exp.Query):
            return this
        whole = last = self._intersections(this)
        while self._is_next(TokenType.UNION, TokenType.EXCEPT):
            whole = self._operation(whole)
            last = self._intersections(whole.expression)
            whole.set("expression", last)
        if isinstance(whole, exp.SetOperation):
            _move_clauses(whole)
            self._parse_query_modifiers(whole)
        return whole

    def _intersections(self, left: exp.Expr) -> exp.Expr:
        while self._is_next(TokenType.INTERSECT):
            left = self._operation(left)
        return left

    def _operation(self, left: exp.Expr) -> exp.SetOperation:
        operation = self.parse_set_operation(left)
        if operation is None or operation.args.get("expression") is None:
            self.raise_error("Expected a query")
        assert operation is not None
        return operation

    def _is_next(self, *types: TokenType) -> bool:
        return self._curr.token_type in types

    @override
    def _parse_join(
        self,
        skip_join_token: bool = False,
        parse_bracket: bool = False,
        alias_tokens: Any = None,
    ) -> exp.Join | None:
        """Read one join, with those that stand between its table and its condition."""
        del skip_join_token, parse_bracket
        if self._match(TokenType.COMMA):
            return exp.Join(this=self._parse_table(alias_tokens=alias_tokens))
        start = self._index
        words = zip(("method", "side", "kind"), self._parse_join_parts(), strict=True)
        if not self._match(TokenType.JOIN):
            self._retreat(start)
            return None
        item = self._parse_table(alias_tokens=alias_tokens)
        join = exp.Join(this=item, **{k: t.text.upper() for k, t in words if t})
        join.meta["join"] = True
        if join.method != "NATURAL" and join.kind != "CROSS" and item is not None:
            self._nested_joins(item)
        if self._match(TokenType.ON):
            join.set("on", self._parse_disjunction())
        elif self._match(TokenType.USING):
            join.set("using", self._parse_using_identifiers())
        return join

    def _nested_joins(self, item: exp.Expr) -> None:
        while not self._is_next(TokenType.ON, TokenType.USING, TokenType.COMMA):
            if (join := self._parse_join()) is None:
                return
            item.append("joins", join)

    @override
    def _parse_type(
        self, parse_interval: bool = True, fallback_to_identifier: bool = False
    ) -> exp.Expr | None:
        """Read a value; sqlglot would read ``INT(INT(1))`` as types first and again."""
        del parse_interval, fallback_to_identifier
        return self._parse_atom() or self._parse_column()

    @override
    def _can_parse_limit_or_offset(self) -> bool:
        """Take LIMIT and OFFSET for clauses, not for names; no need to read them."""
        return self._is_next(*self.AMBIGUOUS_ALIAS_TOKENS)

    @override
    def _parse_limit(
        self,
        this: exp.Expr | None = None,
        top: bool = False,
        skip_limit_token: bool = False,
    ) -> exp.Expr | None:
        """Read FETCH FIRST n ROWS ONLY as the LIMIT that it is."""
        if top or skip_limit_token or not self._match(TokenType.FETCH):
            return super()._parse_limit(this, top, skip_limit_token)
        first = self._fetched("FIRST", "NEXT")
        number = self._parse_number()
        words = [first, self._fetched("ROW", "ROWS"), self._fetched("ONLY")]
        limit = exp.Limit(expression=number or exp.Literal.number(1))
        limit.meta["fetch"] = ["FETCH", words[0], number, *words[1:]]
        return limit

    def _fetched(self, *words: str) -> str:
        if not self._match_texts(words):
            raise UnsupportedQuery(
                f"{place(self._curr or self._prev)}FETCH is answered as "
                "FETCH FIRST n ROWS ONLY: write that, or TOP n"
            )
        return self._prev.text.upper()

    @override
    def _parse_offset(self, this: exp.Expr | None = None) -> exp.Expr | None:
        """Keep the word ROWS of ``OFFSET 3 ROWS``."""
        offset = super()._parse_offset(this)
        if offset is not this and self._prev.text.upper() in {"ROW", "ROWS"}:
            assert offset is not None, "something was read"
            offset.meta["rows"] = self._prev.text.upper()
        return offset

    @override
    def _parse_table_sample(self, as_modifier: bool = False) -> exp.TableSample | None:
        if self._is_next(TokenType.TABLE_SAMPLE):
            raise UnsupportedQuery(
                f"{place(self._curr)}TABLESAMPLE is not answered yet: take a part of "
                "the rows by a condition, such as MOD(objectId, 100) = 7"
            )
        return super()._parse_table_sample(as_modifier)

    @override
    def _parse_ordered(self, parse_method: Any = None) -> exp.Ordered | None:
        """Keep the words NULLS LAST, which say what is meant without them."""
        ordered = super()._parse_ordered(parse_method)
        words = [t.text.upper() for t in self._tokens[: self._index][-2:]]
        if ordered is not None and words == ["NULLS", "LAST"]:
            ordered.meta["nulls_last"] = True
        return ordered


def _move_clauses(whole: exp.SetOperation) -> None:
    """Give ORDER BY and the like after the last operand to the whole."""
    last = whole.expression
    while isinstance(last, exp.SetOperation):
        last = last.expression
    for clause in _AFTER if isinstance(last, exp.Select) else ():
        part = last.args.get(clause)
        if part is not None and not part.meta.get("top"):
            last.set(clause, None)
            whole.set(clause, part)


def plain(tree: exp.Expr) -> Query:
    """Take the brackets round queries away, in place; the tree says what they said.

    What is left of them: `exp.Subquery` round a derived table (with its name), round a
    scalar subquery and round that of IN; `Joined` round joins. The operands of set
    operations, the bodies of WITH and EXISTS and the whole are bare.

    Raises
    ------
    ParseError
        If something stands in brackets that cannot, or has or lacks a name.
    """
    for node in reversed(list(tree.bfs())):
        _check_place(node)
        if isinstance(node, exp.From | exp.Join):
            node.set("this", _item(node.this))
        elif isinstance(node, exp.SetOperation):
            _operands(node)
        elif isinstance(node, exp.CTE | exp.Exists):
            node.set("this", _bare(node.this))
        elif isinstance(node, exp.Subquery) and _is_value(node):
            node.set("this", _bare_value(node))
        elif isinstance(node, exp.Anonymous) and node.name.upper() == "EXISTS":
            node.replace(_exists(node))
        elif isinstance(node, exp.WindowSpec):
            _in_capitals(node)
    query = _bare(tree)
    query.pop()
    return query


def _exists(node: exp.Anonymous) -> exp.Exists:
    """Return EXISTS with several pairs of brackets, which sqlglot takes for a call."""
    if len(node.expressions) != 1 or isinstance(node.this, exp.Identifier):
        _wrong(node, "EXISTS takes a subquery")
    return exp.Exists(this=_bare(node.expressions[0]))


def _in_capitals(node: exp.WindowSpec) -> None:
    for key in ("kind", "start_side", "end_side"):
        if node.args.get(key):
            node.set(key, node.args[key].upper())


def _is_value(node: exp.Subquery) -> bool:
    holds = exp.From | exp.Join | exp.SetOperation | exp.CTE | exp.Exists | exp.Subquery
    return node.parent is not None and not isinstance(node.parent, holds)


def _check_place(node: exp.Expr) -> None:
    holds = _HOLDERS.get(type(node))
    if holds and node.parent is not None and not isinstance(node.parent, holds):
        what = (
            "a table" if isinstance(node, exp.Table) else "a subquery without brackets"
        )
        _wrong(node, f"{what} does not stand here")


_QUERIES: Final = exp.SetOperation | exp.CTE | exp.Exists | exp.Subquery
_HOLDERS: Final[dict[type[exp.Expr], Any]] = {
    exp.Table: exp.From | exp.Join | exp.Subquery,
    exp.Select: _QUERIES,
    exp.Union: _QUERIES,
    exp.Except: _QUERIES,
    exp.Intersect: _QUERIES,
}


def _bare_value(node: exp.Subquery) -> Query:
    if any(node.args.get(k) for k in _AROUND):
        _wrong(node, "nothing stands after a subquery in brackets")
    return _bare(node)


def _wrong(node: exp.Expr, text: str) -> NoReturn:
    raise ParseError(f"{where_is(node)}{text}")


def _bare(node: exp.Expr) -> Query:
    """Return the query in any number of brackets, with the clauses after them."""
    if isinstance(node, exp.Select | exp.SetOperation):
        return node
    if not isinstance(node, exp.Subquery):
        _wrong(node, f"a query is expected, this is {node.key.upper()}")
    if node.args.get("alias") or node.args.get("joins"):
        _wrong(node, "only a subquery in FROM has a name, or is joined")
    query = _bare(node.this)
    clauses = {k: v for k in _AROUND if (v := node.args.get(k))}
    _check_room(node, query, clauses)
    for name, part in clauses.items():
        query.set(name, part)
    return query


def _check_room(node: exp.Expr, query: Query, clauses: dict[str, Any]) -> None:
    if "with_" in clauses and query.args.get("with_"):
        raise UnsupportedQuery(
            f"{where_is(node)}WITH before and in brackets: join them"
        )
    after = [k for k in _AFTER if k in clauses]
    if after and any(query.args.get(k) for k in _AFTER):
        raise UnsupportedQuery(
            f"{where_is(node)}a query in brackets has its own ORDER BY, TOP or OFFSET; "
            f"for {_AFTER[after[0]]} after them write SELECT … FROM (…) AS x"
        )


def _operands(node: exp.SetOperation) -> None:
    binds = isinstance(node, exp.Intersect)
    left = (exp.Select, exp.Intersect) if binds else (exp.Select, exp.SetOperation)
    right = (exp.Select,) if binds else (exp.Select, exp.Intersect)
    for key, kinds in (("this", left), ("expression", right)):
        operand = node.args[key]
        if not isinstance(operand, exp.Subquery):
            _check_operand(operand, node, kinds)
        node.set(key, _bare(operand))


def _check_operand(
    operand: exp.Expr, node: exp.SetOperation, kinds: tuple[type[exp.Expr], ...]
) -> None:
    own = [
        word
        for name, word in _AROUND.items()
        if (part := operand.args.get(name)) and not part.meta.get("top")
    ]
    if own or not isinstance(operand, kinds):
        what = own[0] if own else operand.key.upper()
        where = f"one side of {node.key.upper()}"
        _wrong(operand, f"{what} in {where}: put brackets round it")


def _item(node: exp.Expr) -> exp.Expr:
    """Return what stands in FROM: a table, a derived table, or joins in brackets."""
    joins = _taken(node, "joins")
    if isinstance(node, exp.Subquery):
        node = _in_brackets(node) if _holds_items(node) else _derived(node)
    if not joins:
        return node
    if any(not join.meta.get("join") for join in joins):
        _wrong(node, "a comma in brackets: write JOIN in them")
    return Joined(this=node, joins=joins)


def _taken(node: _Node, key: str) -> Any:
    part = node.args.get(key)
    node.set(key, None)
    return part


def _holds_items(node: exp.Subquery) -> bool:
    inner = node.this
    if not isinstance(inner, exp.Subquery):
        return not isinstance(inner, exp.Query)
    return bool(inner.args.get("alias") or inner.args.get("joins")) or _holds_items(
        inner
    )


def _in_brackets(node: exp.Subquery) -> exp.Expr:
    if any(node.args.get(k) for k in ("alias", *_AROUND)):
        _wrong(node, "brackets round tables take no name")
    return _item(node.this)


def _derived(node: exp.Subquery) -> exp.Expr:
    alias = _taken(node, "alias")
    if alias is None or alias.this is None:
        _wrong(node, "a subquery in FROM needs a name: (SELECT …) AS x")
    return exp.Subquery(this=_bare(node), alias=alias)
