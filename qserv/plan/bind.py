"""Resolve the names of a query and type its expressions.

``SELECT o.* FROM hip.Object o`` becomes a `Query` whose relations are tables of the
snapshot and whose outputs are typed columns in the catalog's spelling.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from sqlglot import exp

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.tables import Column
from qserv.dialects.lexis import where_is
from qserv.errors import LimitExceeded, ParseError, UnsupportedQuery
from qserv.plan import functions
from qserv.plan.depth import free, references, relations_of
from qserv.plan.expressions import (
    Aggregate,
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    Ordering,
    Scalar,
    Window,
    children,
    conjunction,
    has_aggregate,
    has_window,
    walk,
)
from qserv.plan.limits import check_levels
from qserv.plan.naming import described, unique
from qserv.plan.query import (
    Body,
    Combined,
    JoinKind,
    Operator,
    Output,
    Query,
    Relation,
    Select,
    Shared,
    clauses,
    with_columns,
)
from qserv.plan.scope import Names, Scope, same_name, visible
from qserv.plan.sources import read_from, renamed
from qserv.plan.typing import bind_expression, truth


def bind(
    tree: exp.Query, text: str, snapshot: Snapshot, default_release: str | None
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
    body = bind_body(tree, Names(snapshot, default_release), None)
    return Query(text, snapshot, body)


def bind_body(tree: Any, names: Names, outer: Scope | None) -> Body:
    """Bind a SELECT or a set operation; `outer` is the query around a subquery."""
    names = _with(tree, names)
    if isinstance(tree, exp.SetOperation):
        return _combined(tree, names, outer)
    return _select(tree, names, outer)


def _with(tree: Any, names: Names) -> Names:
    """Add the queries of WITH to what table names mean."""
    with_ = tree.args.get("with_")
    if with_ is None:
        return names
    if with_.args.get("recursive"):
        raise UnsupportedQuery("WITH RECURSIVE is not answered yet")
    known: dict[str, Shared] = {}
    for cte in with_.expressions:
        if cte.alias.lower() in known:
            raise ParseError(f"{where_is(cte)}WITH names {cte.alias} twice")
        body = renamed(bind_body(cte.this, names, None), cte.args["alias"])
        shared = Shared(next(names.numbers), cte.alias, body)
        known[cte.alias.lower()] = shared
        names = replace(names, shared={**names.shared, **known})
    return names


def _combined(tree: Any, names: Names, outer: Scope | None) -> Body:
    operator = Operator(tree.key.upper())
    sides = [bind_body(tree.args[k], names, outer) for k in ("this", "expression")]
    left, right = sides
    if len(left.columns) != len(right.columns):
        raise ParseError(
            f"{where_is(tree)}{operator} takes queries of as many columns, "
            f"not of {len(left.columns)} and {len(right.columns)}"
        )
    pairs = zip(left.columns, right.columns, strict=True)
    columns = tuple(_common(operator, ours, theirs) for ours, theirs in pairs)
    left, right = (_converted(side, columns, names) for side in sides)
    left = with_columns(left, columns)
    whole = Combined(operator, not tree.args.get("distinct"), left, right, columns)
    return _ordered(tree, whole, names)


def _common(operator: str, left: Column, right: Column) -> Column:
    """Return the column that two columns make, in the left one's name."""
    sample = (ColumnRef(0, left), ColumnRef(0, right))
    datatype = functions.unify(operator, sample)[0].datatype
    unit = left.unit if left.unit == right.unit else ""
    nullable = left.nullable or right.nullable
    return Column(left.name, datatype, unit, left.ucd, left.description, nullable)


def _converted(body: Body, columns: tuple[Column, ...], names: Names) -> Body:
    if all(
        a.datatype is b.datatype for a, b in zip(body.columns, columns, strict=True)
    ):
        return body
    number = next(names.numbers)
    outputs = tuple(
        Output(functions.cast(ColumnRef(number, given), wanted.datatype), wanted)
        for given, wanted in zip(body.columns, columns, strict=True)
    )
    return Select((Relation(number, "", body),), outputs)


def _ordered(tree: Any, body: Body, names: Names) -> Body:
    """Put a SELECT with ORDER BY, LIMIT and OFFSET over a query that has them."""
    if not any(tree.args.get(k) for k in ("order", "limit", "offset")):
        return body
    relation = Relation(next(names.numbers), "the result", body)
    outputs = tuple(Output(ColumnRef(relation.number, c), c) for c in body.columns)
    scope = Scope(names, relations=[relation], shown=[visible(relation)])
    return Select(
        (relation,),
        outputs,
        orderings=_orderings(tree, scope, outputs),
        limit=_count(tree, "limit"),
        offset=_count(tree, "offset") or 0,
    )


def _select(tree: Any, names: Names, outer: Scope | None) -> Select:
    if tree.args.get("from_") is None:
        raise ParseError("every SELECT has a FROM")
    scope = Scope(names, outer, bind_body)
    read_from(tree, scope, bind_body)
    if (where := _predicate(tree, "where", scope)) is not None:
        scope.pool.append(where)
    outputs = _outputs(tree, scope)
    groups = _groups(tree, scope, outputs)
    having = _predicate(tree, "having", scope)
    orderings = _orderings(tree, scope, outputs)
    valued = [*(o.expression for o in outputs), *(o.expression for o in orderings)]
    body = Select(
        relations=tuple(scope.relations),
        where=conjunction(tuple(scope.pool)),
        outputs=unique(_loosened(outputs, scope)),
        distinct=_distinct(tree),
        groups=groups,
        having=having,
        orderings=orderings,
        limit=_count(tree, "limit"),
        offset=_count(tree, "offset") or 0,
        grouped=bool(groups) or having is not None or any(map(has_aggregate, valued)),
    )
    for clause in clauses(body):
        check_levels(clause)
    _check_grouped(body)
    _check_distinct(body)
    return body


def _check_grouped(body: Select) -> None:
    """Check that what is selected of groups is the same for all rows of a group."""
    if not body.grouped:
        return
    having = () if body.having is None else (body.having,)
    keys = (o.expression for o in body.orderings)
    for value in (*(o.expression for o in body.outputs), *keys, *having):
        for ref in _ungrouped(value, body):
            raise ParseError(
                f"column {ref.column.name} must stand in GROUP BY "
                "or inside an aggregate"
            )


def _ungrouped(node: Expression, body: Select) -> Iterator[ColumnRef]:
    """Yield the columns of FROM that stand outside of keys and aggregates."""
    if node in body.groups or isinstance(node, Aggregate):
        return
    if isinstance(node, ColumnRef) and any(
        r.number == node.relation for r in body.relations
    ):
        yield node
    for part in children(node):
        yield from _ungrouped(part, body)
    if isinstance(node, Exists | InQuery | Scalar):
        outer = free(node.body)
        for ref in (r for r in references(node.body) if r.relation in outer):
            yield from _ungrouped(ref, body)


def _check_distinct(body: Select) -> None:
    values = {o.expression for o in body.outputs}
    if body.distinct and any(o.expression not in values for o in body.orderings):
        raise ParseError("ORDER BY of SELECT DISTINCT takes selected columns")


def _loosened(outputs: tuple[Output, ...], scope: Scope) -> tuple[Output, ...]:
    """Let columns of null-extended relations hold NULL, whatever their table says."""
    lost = {r.number for r in scope.relations if r.join is JoinKind.LEFT}

    def loosened(output: Output) -> Output:
        value = output.expression
        if not isinstance(value, ColumnRef) or output.column.nullable:
            return output
        nullable = value.column.nullable or value.relation in lost
        return replace(output, column=replace(output.column, nullable=nullable))

    return tuple(map(loosened, outputs))


def _predicate(tree: exp.Select, clause: str, scope: Scope) -> Expression | None:
    node = tree.args.get(clause)
    if node is None:
        return None
    bound = truth(bind_expression(node.this, scope), clause.upper())
    if clause == "where" and has_aggregate(bound):
        raise ParseError("an aggregate in WHERE: put it into HAVING")
    if has_window(bound):
        raise ParseError(
            f"a window function in {clause.upper()}: put the query into FROM "
            "and the condition around it"
        )
    return bound


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
    return [Output(value, shown) for shown, value in scope.star(column)]


def _output(node: Any, scope: Scope) -> Output:
    alias = node.alias if isinstance(node, exp.Alias) else ""
    value = node.this if alias else node
    if isinstance(value, exp.Column) and not isinstance(value.this, exp.Star):
        column, expression = scope.named(value)
        return Output(expression, replace(column, name=alias or column.name))
    expression = bind_expression(value, scope)
    return Output(expression, described(expression, alias))


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
    if any(map(has_window, keys)):
        raise ParseError("GROUP BY a window function has no meaning")
    _check_keys("GROUP BY", keys)
    return keys


def _group(node: Any, scope: Scope, outputs: tuple[Output, ...]) -> Expression:
    """Bind a key of GROUP BY: a column of FROM first, else an output's name."""
    known = isinstance(node, exp.Column) and scope.knows(node)
    named = None if known else _output_named(node, outputs)
    return named or bind_expression(node, scope)


def _orderings(
    tree: Any, scope: Scope, outputs: tuple[Output, ...]
) -> tuple[Ordering, ...]:
    order = tree.args.get("order")
    if order is None:
        return ()
    keys = (_ordering(node, scope, outputs) for node in order.expressions)
    return tuple(k for k in keys if not _is_constant(k.expression))


def _is_constant(key: Expression) -> bool:
    """Whether a key orders nothing; DuckDB refuses it, or takes it for a place."""
    return not relations_of(key) and not any(
        isinstance(n, Aggregate | Window | Exists | InQuery | Scalar) for n in walk(key)
    )


def _ordering(node: Any, scope: Scope, outputs: tuple[Output, ...]) -> Ordering:
    descending = bool(node.args.get("desc"))
    first = bool(node.args.get("nulls_first"))
    return Ordering(_ordering_key(node.this, scope, outputs), descending, first)


def _ordering_key(key: Any, scope: Scope, outputs: tuple[Output, ...]) -> Expression:
    if isinstance(key, exp.Literal) and not key.is_string:
        if not (key.this.isdigit() and 1 <= int(key.this) <= len(outputs)):
            raise ParseError(f"ORDER BY {key.this}: there are {len(outputs)} columns")
        return outputs[int(key.this) - 1].expression
    # SQL92 section 13.1: a bare name in ORDER BY is a column of the result first.
    if (named := _output_named(key, outputs)) is not None:
        return named
    bound = bind_expression(key, scope)
    _check_keys("ORDER BY", (bound,))
    return bound


def _distinct(tree: exp.Select) -> bool:
    distinct = tree.args.get("distinct")
    if distinct is None:
        return False
    if distinct.args.get("on"):
        raise UnsupportedQuery("DISTINCT ON is not answered yet")
    return True


def _count(tree: Any, clause: str) -> int | None:
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
