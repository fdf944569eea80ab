"""Resolve the names of a query and type its expressions.

``SELECT o.* FROM hip.Object o`` becomes a `Query` whose relations are tables of the
snapshot and whose outputs are typed columns in the catalog's spelling.
"""

from dataclasses import replace
from typing import Any, Final

from sqlglot import exp

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.tables import Column, DataType
from qserv.dialects.lexis import where_is
from qserv.errors import LimitExceeded, ParseError, TypeMismatch, UnsupportedQuery
from qserv.plan import functions
from qserv.plan.expressions import (
    Aggregate,
    Call,
    ColumnRef,
    Expression,
    conjunction,
    has_aggregate,
    relations_of,
)
from qserv.plan.expressions import Separation as Angle
from qserv.plan.limits import check_levels
from qserv.plan.query import JoinKind, Ordering, Output, Query, Relation
from qserv.plan.scope import Scope, find_table, same_name
from qserv.plan.typing import bind_expression


def bind(
    tree: exp.Select, text: str, snapshot: Snapshot, default_release: str | None
) -> Query:
    """Turn a syntax tree into a bound query.

    Parameters
    ----------
    tree
        From `qserv.dialects`.
    text
        What the user sent.
    snapshot
        What the names mean.
    default_release
        Where unqualified tables are; None to look in all releases.

    Raises
    ------
    UserError
        If the query is wrong or not answered yet; says where and why.
    """
    if tree.args.get("from_") is None:
        raise ParseError("every SELECT has a FROM")
    scope, where = _from(tree, snapshot, default_release)
    outputs = _outputs(tree, scope)
    groups = _groups(tree, scope, outputs)
    having = _predicate(tree, "having", scope)
    orderings = _orderings(tree, scope, outputs)
    clauses = [*(o.expression for o in outputs), *(o.expression for o in orderings)]
    conditions = [where, having, *(r.condition for r in scope.relations)]
    for part in (*clauses, *groups, *(c for c in conditions if c is not None)):
        check_levels(part)
    grouped = bool(groups) or having is not None or any(map(has_aggregate, clauses))
    return Query(
        text=text,
        snapshot=snapshot,
        relations=tuple(scope.relations),
        where=where,
        outputs=_unique(outputs),
        distinct=_distinct(tree),
        groups=groups,
        having=having,
        orderings=orderings,
        limit=_count(tree, "limit"),
        offset=_count(tree, "offset") or 0,
        grouped=grouped,
    )


def _from(
    tree: exp.Select, snapshot: Snapshot, default_release: str | None
) -> tuple[Scope, Expression | None]:
    """Read FROM and WHERE; the conditions of inner joins belong to WHERE."""
    scope = Scope()
    pool: list[Expression] = []
    _add(scope, _relation(tree.args["from_"].this, scope, snapshot, default_release))
    for join in tree.args.get("joins") or ():
        kind = _join_kind(join)
        relation = _relation(join.this, scope, snapshot, default_release)
        _add(scope, replace(relation, join=kind))
        condition = _condition(join, scope)
        if kind is JoinKind.LEFT:
            if condition is None:
                raise ParseError(f"{where_is(join)}LEFT JOIN needs ON or USING")
            scope.relations[-1] = replace(scope.relations[-1], condition=condition)
        elif condition is not None:
            pool.append(condition)
    if (where := _predicate(tree, "where", scope)) is not None:
        pool.append(where)
    return scope, conjunction(tuple(pool))


def _relation(
    node: Any, scope: Scope, snapshot: Snapshot, default_release: str | None
) -> Relation:
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        what = "a subquery" if isinstance(node, exp.Subquery) else node.key.upper()
        raise UnsupportedQuery(f"{where_is(node)}{what} in FROM is not answered yet")
    extra = {k for k, v in node.args.items() if v} - {"this", "db", "catalog", "alias"}
    if extra:
        clause = min(extra).upper()
        raise UnsupportedQuery(f"{where_is(node)}{clause} in FROM is not answered yet")
    version = find_table(node, snapshot, default_release)
    alias = node.alias or version.table.name
    if any(alias.lower() == r.alias.lower() for r in scope.relations):
        raise ParseError(
            f"{where_is(node)}{alias} stands twice in FROM: give one an alias"
        )
    return Relation(len(scope.relations), alias, version, JoinKind.FIRST)


def _add(scope: Scope, relation: Relation) -> None:
    scope.relations.append(relation)


def _join_kind(join: exp.Join) -> JoinKind:
    side, kind = join.side.upper(), join.kind.upper()
    if kind not in {"", "INNER", "OUTER", "CROSS"} or join.args.get("match_condition"):
        raise UnsupportedQuery(f"{where_is(join)}{kind} JOIN is not answered yet")
    if side == "LEFT":
        return JoinKind.LEFT
    if side:
        raise UnsupportedQuery(
            f"{where_is(join)}{side} JOIN is not answered yet: "
            "a LEFT JOIN with the tables exchanged may say the same"
        )
    return JoinKind.INNER


def _condition(join: exp.Join, scope: Scope) -> Expression | None:
    *before, last = scope.relations
    if on := join.args.get("on"):
        bound = _truth(bind_expression(on, scope), "ON")
        if has_aggregate(bound):
            raise ParseError(f"{where_is(join)}an aggregate in ON: put it into HAVING")
        return bound
    names = list(join.args.get("using") or ())
    if join.method.upper() == "NATURAL":
        known = {c.name.lower() for r in before for c in r.version.table.columns}
        columns = last.version.table.columns
        names = [exp.to_identifier(c.name) for c in columns if c.name.lower() in known]
    elif join.method:
        raise UnsupportedQuery(f"{join.method} JOIN is not answered yet")
    return conjunction(tuple(_merge(name, scope) for name in names))


def _merge(name: Any, scope: Scope) -> Expression:
    """Equate a column of both sides and let its bare name mean the left one."""
    *before, last = scope.relations
    left = Scope(before, scope.merged).column(exp.Column(this=name))
    right = Scope([last]).column(exp.Column(this=name))
    merged = scope.merged.get(name.name.lower(), (left,))
    scope.merged[name.name.lower()] = (*merged, right)
    return functions.operator("=", left, right)


def _predicate(tree: exp.Select, clause: str, scope: Scope) -> Expression | None:
    node = tree.args.get(clause)
    if node is None:
        return None
    bound = _truth(bind_expression(node.this, scope), clause.upper())
    if clause == "where" and has_aggregate(bound):
        raise ParseError("an aggregate in WHERE: put it into HAVING")
    return bound


def _truth(node: Expression, clause: str) -> Expression:
    if node.datatype is not DataType.BOOLEAN:
        raise TypeMismatch(f"{clause} takes a predicate, not {node.datatype}")
    return node


def _outputs(tree: exp.Select, scope: Scope) -> tuple[Output, ...]:
    outputs: list[Output] = []
    for node in tree.expressions:
        if isinstance(node, exp.Star) or isinstance(node.this, exp.Star):
            outputs.extend(_star(node, scope))
        else:
            outputs.append(_output(node, scope))
    if not outputs:
        raise ParseError("the select list is empty")
    return tuple(outputs)


def _star(node: Any, scope: Scope) -> list[Output]:
    if any(node.args.get(k) for k in ("except_", "replace", "rename", "except")):
        raise UnsupportedQuery("* with EXCEPT or REPLACE is not answered yet")
    column = node if isinstance(node, exp.Column) else exp.Column(this=node)
    qualified = column.args.get("table") is not None
    hidden = {m for merged in scope.merged.values() for m in merged[1:]}
    refs = (
        ColumnRef(relation.number, c)
        for relation in scope.qualified(column)
        for c in relation.version.table.columns
    )
    return [Output(r, r.column) for r in refs if qualified or r not in hidden]


def _output(node: Any, scope: Scope) -> Output:
    alias = node.alias if isinstance(node, exp.Alias) else ""
    expression = bind_expression(node.this if alias else node, scope)
    return Output(expression, _described(expression, alias))


def _described(expression: Expression, alias: str) -> Column:
    """Say what a result column is; units survive where the value's meaning does."""
    match expression:
        case ColumnRef():
            return replace(expression.column, name=alias or expression.column.name)
        case Aggregate():
            return _described_aggregate(expression, alias)
        case Angle():
            unit, ucd = "deg", "pos.angDistance"
            return Column(alias or "distance", expression.datatype, unit=unit, ucd=ucd)
        case _:
            name = alias or _name_of(expression)
            return Column(name, expression.datatype)


_SAME_UNIT: Final = {"MIN", "MAX", "AVG", "SUM", "STDDEV", "STDDEV_SAMP", "STDDEV_POP"}


def _described_aggregate(node: Aggregate, alias: str) -> Column:
    unit = ""
    if isinstance(node.argument, ColumnRef) and node.function in _SAME_UNIT:
        unit = node.argument.column.unit
    return Column(alias or node.function.lower(), node.datatype, unit=unit)


def _name_of(expression: Expression) -> str:
    """Name an output without alias: the function's name, where it has one."""
    match expression:
        case Call("FINITE", (inner,)):
            return _name_of(inner)
        case Call(name) if functions.is_named(name):
            return name.lower()
        case _:
            return "expression"


def _unique(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Tell names that occur again apart: a result's columns have distinct names."""
    seen: set[str] = set()
    unique = []
    for output in outputs:
        name, number = output.column.name, 1
        while name.lower() in seen:
            number += 1
            name = f"{output.column.name}_{number}"
        seen.add(name.lower())
        unique.append(replace(output, column=replace(output.column, name=name)))
    return tuple(unique)


def _output_named(node: Any, outputs: tuple[Output, ...]) -> Expression | None:
    """Return the output that a bare name means; None where it means none.

    Raises
    ------
    ParseError
        If it may mean two that differ.
    """
    if not isinstance(node, exp.Column) or node.args.get("table"):
        return None
    found = dict.fromkeys(
        o.expression for o in outputs if same_name(node.this, o.column.name)
    )
    if len(found) > 1:
        raise ParseError(
            f"{where_is(node)}{node.name} is the name of several columns of the result:"
            " name them apart"
        )
    return next(iter(found), None)


def _check_keys(clause: str, keys: tuple[Expression, ...]) -> None:
    if any(not relations_of(k) and not has_aggregate(k) for k in keys):
        raise ParseError(f"{clause} takes columns and expressions, not constants")


def _groups(
    tree: exp.Select, scope: Scope, outputs: tuple[Output, ...]
) -> tuple[Expression, ...]:
    group = tree.args.get("group")
    if group is None:
        return ()
    if any(v for k, v in group.args.items() if k != "expressions"):
        raise UnsupportedQuery("GROUP BY with ROLLUP, CUBE or sets is not answered yet")
    keys = tuple(_group(node, scope, outputs) for node in group.expressions)
    if any(map(has_aggregate, keys)):
        raise ParseError("GROUP BY an aggregate has no meaning")
    _check_keys("GROUP BY", keys)
    return keys


def _group(node: Any, scope: Scope, outputs: tuple[Output, ...]) -> Expression:
    """Bind a key of GROUP BY: a column of FROM first, else an output's name."""
    columns = [c.name for r in scope.relations for c in r.version.table.columns]
    known = isinstance(node, exp.Column) and any(
        same_name(node.this, name) for name in columns
    )
    named = None if known else _output_named(node, outputs)
    return named or bind_expression(node, scope)


def _orderings(
    tree: exp.Select, scope: Scope, outputs: tuple[Output, ...]
) -> tuple[Ordering, ...]:
    order = tree.args.get("order")
    if order is None:
        return ()
    return tuple(_ordering(node, scope, outputs) for node in order.expressions)


def _ordering(node: Any, scope: Scope, outputs: tuple[Output, ...]) -> Ordering:
    descending = bool(node.args.get("desc"))
    key = node.this
    if isinstance(key, exp.Literal) and not key.is_string:
        if not (key.this.isdigit() and 1 <= int(key.this) <= len(outputs)):
            raise ParseError(f"ORDER BY {key.this}: there are {len(outputs)} columns")
        return Ordering(outputs[int(key.this) - 1].expression, descending)
    # SQL92 section 13.1: a bare name in ORDER BY is a column of the result first.
    if (named := _output_named(key, outputs)) is not None:
        return Ordering(named, descending)
    bound = bind_expression(key, scope)
    _check_keys("ORDER BY", (bound,))
    return Ordering(bound, descending)


def _distinct(tree: exp.Select) -> bool:
    distinct = tree.args.get("distinct")
    if distinct is None:
        return False
    if distinct.args.get("on"):
        raise UnsupportedQuery("DISTINCT ON is not answered yet")
    return True


def _count(tree: exp.Select, clause: str) -> int | None:
    node = tree.args.get(clause)
    if node is None:
        return None
    if isinstance(node, exp.Fetch):
        raise UnsupportedQuery("FETCH is not answered yet: use TOP")
    number = node.expression
    extra = [k for k, v in node.args.items() if v and k != "expression"]
    if extra or not (isinstance(number, exp.Literal) and number.this.isdigit()):
        raise ParseError(f"{clause.upper()} and TOP take a whole number, 0 or more")
    if int(number.this) > _MOST:
        raise LimitExceeded(f"{clause.upper()} and TOP count to {_MOST} rows at most")
    return int(number.this)


_MOST: Final = 2**62
"""Rows that TOP or OFFSET may name; their sum is a BIGINT."""
