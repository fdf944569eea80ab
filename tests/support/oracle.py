"""The oracle: the whole query on one plain DuckDB that holds all rows.

It shares the meaning of expressions with the product (so it proves distribution, not
meaning) but nothing of how a query is taken apart: no chunks, no partials, no cells, no
stored unit vectors, DuckDB's own aggregates.
"""

import duckdb
import pyarrow as pa
from support import system

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.system import RELEASE
from qserv.catalog.tables import SOURCE
from qserv.dialects import adql
from qserv.plan.bind import bind
from qserv.plan.query import Query
from qserv.plan.render import quoted
from qserv.plan.statement import Statement
from qserv.plan.system import system_table
from qserv.sky import sqlfunctions


class Oracle:
    """One DuckDB with every row of some releases.

    Parameters
    ----------
    releases
        Release -> table -> rows; NaN becomes NULL as it does at load.
    """

    def __init__(self, releases: dict[str, dict[str, pa.Table]]) -> None:
        self.connection = duckdb.connect()
        sqlfunctions.install(self.connection)
        for release, tables in {**releases, RELEASE: system.ROWS}.items():
            self.connection.execute(f"CREATE SCHEMA {quoted(release)}")
            for name, rows in tables.items():
                self.connection.register("arriving", rows)
                self.connection.execute(
                    f"CREATE TABLE {quoted(release)}.{quoted(name)} AS "
                    f"SELECT {', '.join(map(_nulled, rows.schema))} FROM arriving"
                )
                self.connection.unregister("arriving")

    def answer(self, text: str, snapshot: Snapshot, default: str | None = None):
        """Return the rows of a query as an Arrow table."""
        sql, parameters = whole(bind(adql.parse(text), text, snapshot, default))
        return self.connection.sql(sql, params=parameters).to_arrow_table()


def _nulled(field: pa.Field) -> str:
    name = quoted(field.name)
    if pa.types.is_floating(field.type):
        return f"CASE WHEN NOT isnan({name}) THEN {name} END AS {name}"
    return name


class Whole(Statement):
    """Writes a bound query over whole tables: nothing is taken apart or pruned."""

    def table(self, relation, version):
        name = f"{quoted(version.release)}.{quoted(version.table.name)}"
        # As `support.chunks` stores all rows: none is of a numbered file.
        return f"(SELECT *, 0::INTEGER AS {SOURCE} FROM {name})"

    def _source(self, relation, near):
        if (table := system_table(relation)) is not None:
            return f"{RELEASE}.{table.name} AS t{relation.number}"
        return super()._source(relation, near)


def whole(query: Query) -> tuple[str, list[str]]:
    """Write a bound query as one statement over whole tables."""
    writer = Whole(vectors=False)
    sql = writer.body(query.body)
    return sql, list(writer.parameters)


def same(found: pa.Table, expected: pa.Table, *, in_order: bool) -> None:
    """Assert that two results hold the same rows, floats to 1e-9 of their column.

    Sums differ in the last bits with the order of addition, and their error follows the
    size of what was added, not of the sum; so each float column has one tolerance.
    """
    assert found.column_names == expected.column_names
    assert found.num_rows == expected.num_rows
    left, right = (_comparable(t, in_order=in_order) for t in (found, expected))
    scales = [_scale(expected.column(i)) for i in range(expected.num_columns)]
    for row, (ours, theirs) in enumerate(zip(left, right, strict=True)):
        for a, b, scale in zip(ours, theirs, scales, strict=True):
            close = isinstance(a, float) and isinstance(b, float)
            ok = abs(a - b) <= 1e-9 * scale if close else a == b
            assert ok, f"row {row}: {ours} is not {theirs}"


def _scale(column: pa.ChunkedArray) -> float:
    if not pa.types.is_floating(column.type):
        return 0.0
    return max((abs(v) for v in column.to_pylist() if v is not None), default=0.0)


def _comparable(table: pa.Table, *, in_order: bool):
    columns = [c.to_pylist() for c in table.columns]
    rows = list(zip(*columns, strict=True))
    return rows if in_order else sorted(rows, key=_sort_key)


def _sort_key(row):
    # Exact values first, so that floats' last bits do not decide the order.
    exact = [(v is None, "" if v is None else repr(v)) for v in row if not _float(v)]
    return exact, [(v is None, v or 0.0) for v in row if _float(v)]


def _float(value) -> bool:
    return isinstance(value, float)
