"""A bound query: a tree of SELECTs and set operations over relations, immutable.

What SQL has more words for is brought to few shapes when it is bound. FROM is a
sequence: each relation joins all before it. ``RIGHT JOIN`` is a LEFT JOIN with the
sides exchanged; a ``FULL JOIN`` stands alone in a SELECT of its own; ORDER BY of a
UNION is that of a SELECT over it. The number of a relation is unique in the whole
query, so that a subquery names an outer column as any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from qserv.catalog.snapshot import Snapshot, TableVersion
from qserv.catalog.tables import Column, DataType
from qserv.plan.expressions import (
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    Literal,
    Ordering,
    Position,
    Scalar,
    Subquery,
    map_children,
    walk,
)
from qserv.plan.plan import Extent


class JoinKind(StrEnum):
    """How a relation joins those before it."""

    FIRST = "first"
    INNER = "inner"
    LEFT = "left"
    FULL = "full"

    @property
    def is_inner(self) -> bool:
        """Whether the relation is never null-extended."""
        return self in {JoinKind.FIRST, JoinKind.INNER}


@dataclass(frozen=True, slots=True)
class Buckets:
    """Where rows lie that were brought together by hash.

    Parameters
    ----------
    count
        How many buckets there are.
    exchange
        Rows of one exchange that have equal keys share a bucket.
    """

    count: int
    exchange: int


@dataclass(frozen=True, slots=True)
class StageRows:
    """The rows of an earlier stage of the plan.

    Parameters
    ----------
    stage, columns
        Its number, and the columns of its rows.
    rows
        How many are expected.
    buckets
        Where they lie; None where all are read at once.
    keys
        The names of the columns that were hashed.
    """

    stage: int
    columns: tuple[Column, ...]
    rows: float
    buckets: Buckets | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shared:
    """A query that WITH names, and that may be read more than once.

    Its number tells it from others of the name, wherever it is read.
    """

    number: int
    name: str
    body: "Body"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its rows."""
        return self.body.columns


@dataclass(frozen=True, slots=True)
class Relation:
    """What stands in FROM.

    Parameters
    ----------
    number
        Unique in the query; expressions refer to it.
    alias
        The name that the query gives it.
    source
        A table of the snapshot, a query, or the rows of an earlier stage.
    join, condition
        How it joins the relations before it; WHERE holds what inner joins require.
    extent
        Which rows of a chunk are read; `relations` decides.
    reach
        How far in degrees, at most, rows that can matter lie outside the anchor's
        chunk.
    home_reach
        The same of the homes of these rows; a halo reads so far.
    host
        Of overlap rows: a relation with rows of the chunk beside which they are stored.
    leader
        The relation whose rows have the same homes as those that join them.
    second_reach
        Of a ref-match table: as `home_reach`, of the homes of its second keys.
    """

    number: int
    alias: str
    source: "Source"
    join: JoinKind = JoinKind.FIRST
    condition: Expression | None = None
    extent: Extent = Extent.OWN
    reach: float = 0.0
    home_reach: float = 0.0
    host: int | None = None
    leader: int | None = None
    second_reach: float = 0.0

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that a query may name."""
        if isinstance(self.source, TableVersion):
            return self.source.table.columns
        return self.source.columns

    @property
    def stored(self) -> TableVersion | None:
        """The table, where it is one of the snapshot."""
        return self.source if isinstance(self.source, TableVersion) else None

    @property
    def position(self) -> Position | None:
        """The row's own position, where it is stored."""
        table = None if self.stored is None else self.stored.table
        if table is None or table.position is None:
            return None
        lon, lat = (ColumnRef(self.number, table.column(n)) for n in table.position)
        return Position(lon, lat)

    @property
    def at_home(self) -> bool:
        """Whether every row's home is the pixel of its own position."""
        stored = self.stored
        return self.position is not None and stored is not None and stored.offset == 0

    @property
    def key(self) -> ColumnRef | None:
        """The director key, where it is a stored column that says where rows live.

        A table that keeps orphans has none: rows of a director that is missing live
        where they were measured, in many chunks.
        """
        table = None if self.stored is None else self.stored.table
        if table is None or table.key is None or table.orphans:
            return None
        return ColumnRef(self.number, table.column(table.key))

    @property
    def second_key(self) -> ColumnRef | None:
        """The key of the second director of a ref-match table."""
        table = None if self.stored is None else self.stored.table
        if table is None or table.second_key is None:
            return None
        return ColumnRef(self.number, table.column(table.second_key))


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the result: its expression, and what the user sees of it."""

    expression: Expression
    column: Column


FOUND: Final = Output(Literal(1, DataType.BIGINT), Column("found", DataType.BIGINT))
"""What a query selects of which only matters whether it has a row."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A near-neighbour edge: rows of `right` within `radius` of rows of `left`."""

    left: int
    right: int
    radius: float


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT; later passes fill in what they find.

    Parameters
    ----------
    relations
        FROM, in order.
    where
        WHERE, and the conditions of inner joins.
    outputs, distinct
        SELECT.
    groups, having, orderings, limit, offset
        The other clauses; `limit` None means all.
    grouped
        Whether rows are aggregated (GROUP BY, or an aggregate anywhere).
    neighbours
        Near-neighbour edges that join relations, found by `relations`.
    ranges
        Relation number -> order-29 ranges that its rows' homes must lie in.
    """

    relations: tuple[Relation, ...]
    outputs: tuple[Output, ...]
    where: Expression | None = None
    distinct: bool = False
    groups: tuple[Expression, ...] = ()
    having: Expression | None = None
    orderings: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int = 0
    grouped: bool = False
    neighbours: tuple[Neighbours, ...] = ()
    ranges: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its rows."""
        return tuple(o.column for o in self.outputs)


class Operator(StrEnum):
    """How two queries of as many columns are combined."""

    UNION = "UNION"
    EXCEPT = "EXCEPT"
    INTERSECT = "INTERSECT"


@dataclass(frozen=True, slots=True)
class Combined:
    """A set operation; `duplicates` keeps them (ALL)."""

    operator: Operator
    duplicates: bool
    left: "Body"
    right: "Body"
    columns: tuple[Column, ...]


Body = Select | Combined
Source = TableVersion | Select | Combined | Shared | StageRows


@dataclass(frozen=True, slots=True)
class Query:
    """A bound query: what was asked, against what."""

    text: str
    snapshot: Snapshot
    body: Body


def with_columns(body: Body, columns: tuple[Column, ...]) -> Body:
    """Name the columns of a query anew; a set operation has its left side's names."""
    if isinstance(body, Combined):
        return replace(body, left=with_columns(body.left, columns), columns=columns)
    outputs = zip(body.outputs, columns, strict=True)
    return replace(body, outputs=tuple(replace(o, column=c) for o, c in outputs))


def all_of(rows: StageRows, number: int) -> Select:
    """Return the query of all rows of a stage, through a relation of that number."""
    outputs = (Output(ColumnRef(number, c), c) for c in rows.columns)
    return Select((Relation(number, "", rows),), tuple(outputs))


def clauses(body: Select) -> Iterator[Expression]:
    """Yield the expressions of a SELECT, each clause's own; not those of subqueries."""
    for relation in body.relations:
        if relation.condition is not None:
            yield relation.condition
    if body.where is not None:
        yield body.where
    yield from (o.expression for o in body.outputs)
    yield from body.groups
    if body.having is not None:
        yield body.having
    yield from (o.expression for o in body.orderings)


def map_clauses(body: Select, mapper: Callable[[Expression], Expression]) -> Select:
    """Return a SELECT with `mapper` applied to each clause's expressions."""

    def optional(node: Expression | None) -> Expression | None:
        return None if node is None else mapper(node)

    def relation(of: Relation) -> Relation:
        condition = optional(of.condition)
        return of if condition is of.condition else replace(of, condition=condition)

    def output(of: Output) -> Output:
        # Of a thousand outputs most stay what they are.
        changed = mapper(of.expression)
        return of if changed is of.expression else Output(changed, of.column)

    return replace(
        body,
        relations=tuple(map(relation, body.relations)),
        where=optional(body.where),
        outputs=tuple(output(o) for o in body.outputs),
        groups=tuple(map(mapper, body.groups)),
        having=optional(body.having),
        orderings=tuple(
            replace(o, expression=mapper(o.expression)) for o in body.orderings
        ),
    )


def subqueries(node: Expression) -> Iterator[Subquery]:
    """Yield the subqueries that stand in an expression, not those inside of them."""
    if isinstance(node, ColumnRef):
        return iter(())
    return (n for n in walk(node) if isinstance(n, Exists | InQuery | Scalar))


def map_subqueries(node: Expression, mapper: "Callable[[Body], Body]") -> Expression:
    """Return an expression with `mapper` applied to the queries in it."""
    if isinstance(node, ColumnRef):
        return node
    changed = map_children(node, lambda part: map_subqueries(part, mapper))
    if isinstance(changed, Exists | InQuery | Scalar):
        return replace(changed, body=mapper(changed.body))
    return changed


def bodies(body: Body) -> Iterator[Body]:
    """Yield the queries directly inside one: in FROM, in expressions, operands."""
    if isinstance(body, Combined):
        yield from (body.left, body.right)
        return
    for relation in body.relations:
        if isinstance(relation.source, Select | Combined):
            yield relation.source
        elif isinstance(relation.source, Shared):
            yield relation.source.body
    for clause in clauses(body):
        yield from (s.body for s in subqueries(clause))


def selects(body: Body) -> Iterator[Select]:
    """Yield every SELECT of a query, outermost first."""
    if isinstance(body, Select):
        yield body
    for inner in bodies(body):
        yield from selects(inner)
