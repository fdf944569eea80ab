"""Read FROM: tables, subqueries and joins become the sequence that `Select` has.

``a RIGHT JOIN b`` is read as b, then a LEFT; ``a FULL JOIN b`` as a SELECT of its own.
Where a side of such a join is itself a join, it becomes a SELECT of its own first, and
the names in it mean that SELECT's columns from then on.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlglot import exp

from qserv.catalog.snapshot import TableVersion
from qserv.catalog.system import RELEASE
from qserv.catalog.tables import Column, Table
from qserv.dialects import adql
from qserv.dialects.lexis import where_is
from qserv.dialects.nodes import Joined
from qserv.errors import LimitExceeded, ParseError, UnsupportedQuery, UserError
from qserv.plan import functions
from qserv.plan.expressions import (
    ColumnRef,
    Expression,
    conjunction,
    has_aggregate,
    has_window,
)
from qserv.plan.query import (
    Body,
    JoinKind,
    Output,
    Relation,
    Select,
    Shared,
    with_columns,
)
from qserv.plan.scope import PSEUDO, Merged, Names, Scope, Viewed, visible
from qserv.plan.system import unread
from qserv.plan.typing import bind_expression, truth

_TABLE: Final = {"this", "db", "catalog", "alias"}

MOST_VIEWS: Final = 200
"""How often a query may read views: views of views may double at each step."""

BindBody = Callable[[Any, Names, Scope | None], Body]


def read_from(tree: exp.Select, scope: Scope, bind_body: BindBody) -> None:
    """Read FROM into a scope.

    Raises
    ------
    UserError
        If a name is unknown or a join is wrong; says where and why.
    """
    first, joins = tree.args["from_"].this, tree.args.get("joins") or ()
    if joins or isinstance(first, Joined):
        named = {node.name.lower() for node in tree.find_all(exp.Column)}
        scope.asked = frozenset(named & PSEUDO)
    _take(scope, _read(first, joins, scope, bind_body))


def renamed(body: Body, alias: Any) -> Body:
    """Give the columns of a query the names of ``AS t(a, b)``.

    Raises
    ------
    ParseError
        If there are not as many.
    """
    names = () if alias is None else alias.args.get("columns") or ()
    if not names:
        return body
    if len(names) != len(body.columns):
        raise ParseError(
            f"{where_is(alias)}{alias.name} names {len(names)} columns, "
            f"its query has {len(body.columns)}"
        )
    if len({n.name.lower() for n in names}) < len(names):
        raise ParseError(f"{where_is(alias)}{alias.name} has two columns of one name")
    pairs = zip(body.columns, names, strict=True)
    columns = tuple(replace(column, name=name.name) for column, name in pairs)
    return with_columns(body, columns)


def _take(scope: Scope, other: Scope) -> None:
    scope.relations, scope.pool = other.relations, other.pool
    scope.shown, scope.merged = other.shown, other.merged


def _read(first: Any, joins: Iterable[Any], scope: Scope, bind_body: BindBody) -> Scope:
    listed, *others = _listed(first, joins)
    read = _side(listed.first, scope, bind_body)
    for join in listed.joins:
        read = _joined(join, read, _side(join.this, scope, bind_body))
        _check_aliases(read, join)
    for other in others:
        side = _read(other.first, other.joins, scope, bind_body)
        read = _inner(other.comma, read, side)
        _check_aliases(read, other.comma)
    return read


@dataclass(frozen=True, slots=True)
class _Listed:
    """What stands between two commas of FROM."""

    comma: Any
    first: Any
    joins: list[Any]


def _listed(first: Any, joins: Iterable[Any]) -> list[_Listed]:
    """Part FROM at its commas, which bind weaker than JOIN (SQL92 section 7.4).

    Where both readings are the same, ON may name tables before the comma, as many
    people write it.
    """
    parts = [_Listed(None, first, [])]
    for join in joins:
        if any(join.args.get(k) for k in ("on", "using", "method", "side", "kind")):
            parts[-1].joins.append(join)
        else:
            parts.append(_Listed(join, join.this, []))
    made = parts[:1]
    for part in parts[1:]:
        if any(map(_is_bound_by_comma, part.joins)):
            made.append(part)
        else:
            made[-1].joins.extend((part.comma, *part.joins))
    return made


def _is_bound_by_comma(join: Any) -> bool:
    """Whether it matters to a join what stands before the comma."""
    outer = join.side.upper() in {"RIGHT", "FULL"}
    return bool(outer or join.method or join.args.get("using"))


def _check_aliases(scope: Scope, join: Any) -> None:
    aliases = [each.alias.lower() for each in scope.shown]
    for alias in (a for a in aliases if aliases.count(a) > 1):
        raise ParseError(
            f"{where_is(join.this)}{alias} stands twice in FROM: give one an alias"
        )


def _side(node: Any, scope: Scope, bind_body: BindBody) -> Scope:
    """Read one side of a join: a table, a subquery, or a join in brackets."""
    if isinstance(node, Joined):
        return _read(node.this, node.args["joins"], scope, bind_body)
    shown = _shown(node, scope.names, bind_body)
    side = scope.beside()
    side.relations.append(shown[0])
    side.shown.append(visible(*shown))
    return side


def _shown(node: Any, names: Names, bind_body: BindBody) -> tuple[Relation, str | None]:
    """Read what stands in FROM; what is no stored table with its release's name."""
    number, alias = next(names.numbers), node.args.get("alias")
    if isinstance(node, exp.Subquery):
        body = renamed(bind_body(node.this, names, None), alias)
        return Relation(number, node.alias, body), None
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise UnsupportedQuery(
            f"{where_is(node)}{node.key.upper()} in FROM is not answered yet"
        )
    if extra := {k for k, v in node.args.items() if v} - _TABLE:
        clause = min(extra).upper()
        raise UnsupportedQuery(f"{where_is(node)}{clause} in FROM is not answered yet")
    match names.find(node):
        case Viewed(release, view) as viewed:
            body = _viewed(viewed, names, bind_body)
            return Relation(number, node.alias or view.name, body), release
        case Shared(name=name) as shared:
            return Relation(number, node.alias or name, shared), None
        case TableVersion(table=table) as version:
            return Relation(number, node.alias or table.name, version), None
        case Table(name=name) as table:
            return Relation(number, node.alias or name, unread(table)), RELEASE


def _viewed(viewed: Viewed, names: Names, bind_body: BindBody) -> Body:
    """Bind the text of a view, which sees nothing of the query that reads it."""
    if next(names.viewed) == MOST_VIEWS:
        raise LimitExceeded(
            f"the query reads views {MOST_VIEWS} times, with those that views read: "
            "make a table of what is read often"
        )
    inside = replace(names, default_release=viewed.release, shared={})
    try:
        return bind_body(adql.parse(viewed.view.text), inside, None)
    except UserError as error:
        name = f"{viewed.release}.{viewed.view.name}"
        raise type(error)(f"in view {name}: {error.text}") from error


def _joined(join: exp.Join, left: Scope, right: Scope) -> Scope:
    side = join.side.upper()
    kind = join.kind.upper()
    if kind not in {"", "INNER", "OUTER", "CROSS"} or join.args.get("match_condition"):
        raise UnsupportedQuery(f"{where_is(join)}{kind} JOIN is not answered yet")
    match side:
        case "LEFT":
            return _outer(join, left, _one(right), left)
        case "RIGHT":
            return _outer(join, _one(left), right, right)
        case "FULL":
            return _full(join, _one(left), _one(right))
        case _:
            return _inner(join, left, right)


def _inner(join: exp.Join, left: Scope, right: Scope) -> Scope:
    both = _both(left, right)
    condition = _condition(join, left, right, both, left)
    first, *rest = right.relations
    both.relations = [*left.relations, replace(first, join=JoinKind.INNER), *rest]
    both.pool = [*left.pool, *right.pool, *condition]
    return both


def _outer(join: exp.Join, left: Scope, right: Scope, kept: Scope) -> Scope:
    """Join so that one side keeps all its rows; the other is one relation."""
    lost = right if kept is left else left
    both = _both(left, right)
    condition = conjunction(tuple(_condition(join, left, right, both, kept)))
    if condition is None:
        raise ParseError(f"{where_is(join)}{join.side} JOIN needs ON or USING")
    (relation,) = lost.relations
    added = replace(relation, join=JoinKind.LEFT, condition=condition)
    both.relations, both.pool = [*kept.relations, added], kept.pool
    return both


def _full(join: exp.Join, left: Scope, right: Scope) -> Scope:
    both = _both(left, right)
    condition = conjunction(tuple(_condition(join, left, right, both, None)))
    if condition is None:
        raise ParseError(f"{where_is(join)}FULL JOIN needs ON or USING")
    (first,), (second,) = left.relations, right.relations
    second = replace(second, join=JoinKind.FULL, condition=condition)
    both.relations = [first, second]
    return _wrapped(both)


def _both(left: Scope, right: Scope) -> Scope:
    both = left.beside()
    both.shown = [*left.shown, *right.shown]
    both.merged = {**right.merged, **left.merged}
    return both


def _one(scope: Scope) -> Scope:
    """Return the scope with a single relation and no condition."""
    simple = len(scope.relations) == 1 and not scope.pool
    return scope if simple else _wrapped(scope)


def _wrapped(scope: Scope) -> Scope:
    """Make what was read a SELECT of its own, and let the names mean its columns."""
    values = [value for each in scope.shown for _, value in each.columns.values()]
    for merged in scope.merged.values():
        values += (merged.shown, *merged.hidden)
    asked = [
        {n: each.hidden[n] for n in scope.asked if n in each.hidden}
        for each in scope.shown
    ]
    values += [value for known in asked for _, value in known.values()]
    columns = {
        value: Column(f"c{place}", value.datatype)
        for place, value in enumerate(dict.fromkeys(values))
    }
    outputs = tuple(Output(value, column) for value, column in columns.items())
    pool = conjunction(tuple(scope.pool))
    number = next(scope.names.numbers)
    body = Select(tuple(scope.relations), outputs, where=pool)
    around = scope.beside()
    around.relations.append(Relation(number, "", body))

    def outside(value: Expression) -> Expression:
        return ColumnRef(number, columns[value])

    def those(
        known: Mapping[str, tuple[Column, Expression]],
    ) -> dict[str, tuple[Column, Expression]]:
        return {name: (column, outside(v)) for name, (column, v) in known.items()}

    around.shown = [
        replace(each, columns=those(each.columns), hidden=those(known))
        for each, known in zip(scope.shown, asked, strict=True)
    ]
    around.merged = {
        name: Merged(outside(m.shown), frozenset(map(outside, m.hidden)))
        for name, m in scope.merged.items()
    }
    return around


def _condition(
    join: exp.Join, left: Scope, right: Scope, both: Scope, kept: Scope | None
) -> list[Expression]:
    """Bind ON, USING or NATURAL; `kept` is the side whose merged columns are shown."""
    if on := join.args.get("on"):
        bound = truth(bind_expression(on, both), "ON")
        if has_aggregate(bound) or has_window(bound):
            raise ParseError(f"{where_is(join)}an aggregate in ON: put it into HAVING")
        return [bound]
    names = list(join.args.get("using") or ())
    if join.method.upper() == "NATURAL":
        known = {name for each in left.shown for name in each.columns}
        names = [
            exp.to_identifier(column.name, quoted=False)
            for each in right.shown
            for name, (column, _) in each.columns.items()
            if name in known
        ]
    elif join.method:
        raise UnsupportedQuery(f"{join.method} JOIN is not answered yet")
    return [_merge(name, left, right, both, kept) for name in names]


def _merge(
    name: Any, left: Scope, right: Scope, both: Scope, kept: Scope | None
) -> Expression:
    """Equate a column of both sides and let its bare name mean one value."""
    node = exp.Column(this=name)
    # Only this FROM: a name that one side lacks is not sought in an outer query.
    ours, theirs = (replace(s, outer=None).column(node) for s in (left, right))
    if kept is None:
        shown = functions.function("COALESCE", (ours, theirs))
    else:
        shown = ours if kept is left else theirs
    before = (s.merged.get(name.name.lower()) for s in (left, right))
    hidden = {ours, theirs}.union(*(m.hidden for m in before if m is not None))
    both.merged[name.name.lower()] = Merged(shown, frozenset(hidden))
    return functions.operator("=", ours, theirs)
