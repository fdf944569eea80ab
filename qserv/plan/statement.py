"""Write bound queries as DuckDB SQL: a fragment's template, or what the czar runs.

What the user asked stands beside what the layout implies: the ranges of homes that an
area allows, the cells of a near-neighbour join, the chunk that a copy is stored for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from qserv.catalog.snapshot import TableVersion
from qserv.catalog.tables import (
    CHUNK,
    HEALPIX,
    SOURCE,
    UNIT_VECTOR,
    Column,
    DataType,
)
from qserv.plan.expressions import (
    Cast,
    ColumnRef,
    Expression,
    Literal,
    Null,
    Ordering,
)
from qserv.plan.neighbours import Cells, cells
from qserv.plan.plan import MARK, Extent, ScanSource, Sharing, stage_name
from qserv.plan.query import (
    Body,
    Combined,
    JoinKind,
    Relation,
    Select,
    Shared,
    StageRows,
)
from qserv.plan.render import TYPES, Writer, direction, number, quoted

_SYSTEM: Final = {
    HEALPIX: DataType.BIGINT,
    CHUNK: DataType.BIGINT,
    SOURCE: DataType.INTEGER,
}
"""The types of system columns; others are of the unit vector."""
_JOINS: Final = {JoinKind.LEFT: "LEFT JOIN", JoinKind.FULL: "FULL JOIN"}
_TWO: Final = (0, 1)


@dataclass(slots=True)
class Statement(Writer):
    """Writes queries.

    Parameters
    ----------
    scanned
        The stored relations in the order in which they were met: scan sources.
    stages
        The earlier stages that are read, and how.
    depth
        How many queries stand around what is written: it is indented as much. Text
        that is written is never indented again, for a name may hold a line break.
    """

    scanned: list[Relation] = field(default_factory=list)
    stages: dict[int, Sharing] = field(default_factory=dict)
    depth: int = -1

    @override
    def body(self, body: Body) -> str:
        """Write a query; on lines of its own where it stands in another."""
        self.depth += 1
        text = self._query(body)
        line = self._line() if self.depth else ""
        self.depth -= 1
        return f"{line}{text}"

    def _line(self) -> str:
        return "\n" + "  " * self.depth

    def _query(self, body: Body) -> str:
        line = self._line()
        if isinstance(body, Combined):
            every = " ALL" if body.duplicates else ""
            left, right = self.body(body.left), self.body(body.right)
            return f"({left}){line}{body.operator}{every}{line}({right})"
        self.relations.update((r.number, r) for r in body.relations)
        edges = {e.right: cells(e) for e in body.neighbours}
        tables = self._from(body, edges)
        listed = self.typed(body.columns, [o.expression for o in body.outputs])
        select = "SELECT DISTINCT" if body.distinct else "SELECT"
        return f"{select} {listed}{line}FROM {tables}{self._rest(body, edges)}"

    def typed(self, columns: Sequence[Column], values: Sequence[Expression]) -> str:
        """Write a select list in which each value has its column's name and type."""
        return f",{self._line()}  ".join(
            f"{self._typed(column, value)} AS {quoted(column.name)}"
            for column, value in zip(columns, values, strict=True)
        )

    def table(self, relation: Relation, version: TableVersion) -> str:
        """Write a stored table: a marker, until files are known."""
        del version
        self.scanned.append(relation)
        return f"{MARK}{len(self.scanned) - 1}{MARK}"

    def sources(self) -> tuple[ScanSource, ...]:
        """Return what the markers stand for, once all is written."""
        return tuple(
            _scan(relation, relation.source, self.used.get(relation.number, {}))
            for relation in self.scanned
            if isinstance(relation.source, TableVersion)
        )

    def _typed(self, column: Column, value: Expression) -> str:
        sql = self.sql(value)
        exact = isinstance(value, ColumnRef | Cast | Literal | Null)
        if exact and value.datatype is column.datatype:
            return sql
        return f"CAST({sql} AS {TYPES.get(column.datatype, column.datatype)})"

    def _rest(self, body: Select, edges: dict[int, Cells]) -> str:
        terms = [] if body.where is None else [self.sql(body.where)]
        for relation in body.relations:
            if relation.join.is_inner:
                terms += self._locality(body, relation, edges)
        line = self._line()
        sql = f"{line}WHERE {self._all(terms)}" if terms else ""
        if body.groups:
            sql += f"{line}GROUP BY {', '.join(map(self.sql, body.groups))}"
        if body.having is not None:
            sql += f"{line}HAVING {self.sql(body.having)}"
        if body.orderings:
            sql += f"{line}ORDER BY {self._keys(body)}"
        if body.limit is not None:
            sql += f"{line}LIMIT {body.limit}"
        return f"{sql}{line}OFFSET {body.offset}" if body.offset else sql

    def _all(self, terms: Sequence[str]) -> str:
        return f"{self._line()}  AND ".join(terms)

    def _keys(self, body: Select) -> str:
        if not body.distinct:
            return self.ordered(body.orderings)
        # DISTINCT sees the outputs alone, so they are named by their place.
        values = [o.expression for o in body.outputs]
        return ", ".join(_placed(k, values) for k in body.orderings)

    def _from(self, body: Select, edges: dict[int, Cells]) -> str:
        tables, line = "", self._line()
        for relation in body.relations:
            source = self._source(relation, edges.get(relation.number))
            if relation.join is JoinKind.FIRST:
                tables = source
            elif relation.join is JoinKind.INNER:
                tables += f"{line}CROSS JOIN {source}"
            else:
                on = self._on(body, relation, edges)
                tables += f"{line}{_JOINS[relation.join]} {source}{line}  ON {on}"
        return tables

    def _on(self, body: Select, relation: Relation, edges: dict[int, Cells]) -> str:
        assert relation.condition is not None, "an outer join has a condition"
        terms = [self.sql(relation.condition)]
        return self._all(terms + self._locality(body, relation, edges))

    def _source(self, relation: Relation, near: Cells | None) -> str:
        i = relation.number
        match relation.source:
            case TableVersion() as version:
                table = self.table(relation, version)
            case StageRows(stage) as rows:
                shared = Sharing.BUCKET if rows.buckets else Sharing.BROADCAST
                self.stages[stage] = shared
                table = stage_name(stage)
            case Shared(body=body) | (Select() | Combined() as body):
                table = f"({self.body(body)})"
        if near is None:
            return f"{table} AS t{i}"
        return f"({self._copied(i, table, near)}) AS t{i}"

    def _copied(self, i: int, table: str, near: Cells) -> str:
        """Write a neighbour with a copy of each row in each cell that it reaches."""
        corners = ", ".join(
            f"({a}, {b}, {c})" for a in _TWO for b in _TWO for c in _TWO
        )
        names, picks = [], []
        for axis, name, step in zip(UNIT_VECTOR, near.names, "xyz", strict=True):
            self.stored(i, axis)
            low, high = (
                f"qserv_cell(s.{quoted(axis)} {sign} {number(near.reach)}, "
                f"{number(near.side)})"
                for sign in "-+"
            )
            names.append(f"{low} + i.{step} AS {name}")
            picks.append(f"i.{step} <= {high} - {low}")
        line = f"{self._line()}  "
        return (
            f"{line}SELECT {f',{line}  '.join(['s.*', *names])}"
            f"{line}FROM {table} AS s,{line}  (VALUES {corners}) AS i(x, y, z)"
            f"{line}WHERE {f'{line}  AND '.join(picks)}"
        )

    def _locality(
        self, body: Select, relation: Relation, edges: dict[int, Cells]
    ) -> list[str]:
        """Write what only the layout implies: homes, cells, the host chunk."""
        terms = []
        for ranges in (r for n, r in body.ranges if n == relation.number):
            home = self.stored(relation.number, HEALPIX)
            spans = (f"({home} >= {low} AND {home} < {high})" for low, high in ranges)
            terms.append(f"({' OR '.join(spans) or 'FALSE'})")
        if relation.extent is Extent.OWN_AND_OVERLAP:
            assert relation.host is not None, "overlap is stored beside a chunk"
            host = self.stored(relation.host, CHUNK)
            terms.append(f"{host} = {self.stored(relation.number, CHUNK)}")
        if (cell := edges.get(relation.number)) is not None:
            for axis, name in zip(UNIT_VECTOR, cell.names, strict=True):
                left = self.stored(cell.edge.left, axis)
                place = f"qserv_cell({left}, {number(cell.side)})"
                terms.append(f"{place} = t{relation.number}.{name}")
        return terms


def _placed(key: Ordering, values: list[Expression]) -> str:
    return f"{values.index(key.expression) + 1} {direction(key)}"


def _scan(
    relation: Relation, version: TableVersion, names: dict[str, None]
) -> ScanSource:
    # COUNT(*) and cross joins read no column, but a file must still be read.
    columns = tuple(_column(version, n) for n in names) or version.table.columns[:1]
    return ScanSource(
        release=version.release,
        table=version.table.name,
        manifest_version=version.manifest_version,
        extent=relation.extent,
        columns=columns,
        reach=relation.home_reach if relation.extent is Extent.HALO else 0.0,
    )


def _column(version: TableVersion, name: str) -> Column:
    if (found := version.table.find(name)) is not None:
        return found
    datatype = _SYSTEM.get(name, DataType.DOUBLE)
    return Column(name, datatype, nullable=False)
