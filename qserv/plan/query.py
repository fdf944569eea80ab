"""A bound query: what the passes hand on to each other, immutable."""

from dataclasses import dataclass
from enum import StrEnum

from qserv.catalog.snapshot import Family, Snapshot, TableVersion
from qserv.catalog.tables import Column
from qserv.plan.expressions import ColumnRef, Expression, Position
from qserv.plan.plan import Extent, Restrictor


class JoinKind(StrEnum):
    """How a relation joins those before it."""

    FIRST = "first"
    INNER = "inner"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table in FROM.

    Parameters
    ----------
    number
        Its place in FROM, from 0; expressions refer to it.
    alias
        The name that the query gives it.
    version
        The table, live in the query's snapshot.
    join, condition
        How it joins the relations before it; WHERE holds what inner joins require.
    extent
        Which rows of a chunk are read; `relations` decides.
    reach
        How far in degrees, at most, the rows that can matter lie outside the chunk.
    """

    number: int
    alias: str
    version: TableVersion
    join: JoinKind
    condition: Expression | None = None
    extent: Extent = Extent.OWN
    reach: float = 0.0

    @property
    def position(self) -> Position | None:
        """The row's own position, where the table has one."""
        table = self.version.table
        if table.position is None:
            return None
        lon, lat = (self.ref(name) for name in table.position)
        return Position(lon, lat)

    def ref(self, name: str) -> ColumnRef:
        """Return a column of this relation."""
        return ColumnRef(self.number, self.version.table.column(name))


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the result: its expression, and what the user sees of it."""

    expression: Expression
    column: Column


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY; NULLs come last in both directions."""

    expression: Expression
    descending: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A near-neighbour edge: rows of `right` within `radius` of rows of `left`."""

    left: int
    right: int
    radius: float


@dataclass(frozen=True, slots=True)
class Query:
    """A query after binding; later passes fill in what they find.

    Parameters
    ----------
    text, snapshot
        What was asked, against what.
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
    family
        The chunk tree it runs over; None for replicated tables alone.
    neighbours
        Near-neighbour edges that join relations, found by `relations`.
    restrictors
        Found by `restrict`.
    ranges
        Relation number -> order-29 ranges that its rows' homes must lie in.
    notes
        What each pass did, for EXPLAIN.
    """

    text: str
    snapshot: Snapshot
    relations: tuple[Relation, ...]
    where: Expression | None
    outputs: tuple[Output, ...]
    distinct: bool
    groups: tuple[Expression, ...]
    having: Expression | None
    orderings: tuple[Ordering, ...]
    limit: int | None
    offset: int
    grouped: bool
    family: Family | None = None
    neighbours: tuple[Neighbours, ...] = ()
    restrictors: tuple[Restrictor, ...] = ()
    ranges: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = ()
    notes: tuple[str, ...] = ()
