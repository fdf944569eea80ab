"""A survey partitioned in memory, and plans run over it without any process.

This is the smallest engine that a plan can be proven on: DuckDB tables that hold own
and overlap rows as a worker's files do, and the fragment run batch by batch.
"""

from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
from support.survey import Survey

from qserv import sqltext
from qserv.catalog.snapshot import (
    ChunkStatistics,
    Family,
    IndexShard,
    Release,
    ReleaseState,
    Snapshot,
    TableVersion,
)
from qserv.catalog.tables import CHUNK, Table, TableKind
from qserv.ingest.partition import Located, copies, overlap, own
from qserv.plan.plan import MARK, PARTIALS, Extent, KeyRestrictor, Plan, ScanSource
from qserv.plan.render import quoted
from qserv.plan.route import route
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree, Load

OVERLAP = 60 / 3600


class Chunks:
    """One release, partitioned in memory."""

    def __init__(
        self,
        survey: Survey,
        leaf_rows: int,
        *,
        release: str = "t",
        overlap: float = OVERLAP,
    ) -> None:
        self.survey, self.release, self.overlap = survey, release, overlap
        self.connection = duckdb.connect()
        self.connection.execute(sqltext.read("worker/macros.sql"))
        objects = survey.rows["Object"]
        self._ids = objects["objectId"].to_numpy()
        self._homes = healpix.pixels(
            objects["ra"].to_numpy(), objects["dec"].to_numpy()
        )
        load = Load(self._homes, 100.0, director=True)
        self.tree = ChunkTree.build(
            [load], leaf_rows=leaf_rows, leaf_bytes=2**40, max_order=10
        )
        versions = {n.lower(): self._version(t) for n, t in survey.tables.items()}
        family = Family(release, overlap, leaf_rows, 2**40, 1, self.tree, {})
        self.snapshot = Snapshot(
            7,
            {release: Release(release, ReleaseState.PUBLISHED, release, versions)},
            {release: family},
        )

    def homes(self, restrictor: KeyRestrictor) -> np.ndarray:
        """Look keys up as the director index does."""
        return self._homes[np.isin(self._ids, np.array(restrictor.keys))]

    def run(self, plan: Plan, batch: int = 10**9) -> pa.Table:
        """Run a plan with `batch` chunks a batch at most."""
        sent = plan.fragment
        if sent is None:
            return self._residual(plan, None)
        found = {
            r: self.homes(r) for r in sent.restrictors if isinstance(r, KeyRestrictor)
        }
        chunks = route(plan, self.snapshot, found).chunks
        parts = [
            self._fragment(plan, chunks[i : i + batch])
            for i in range(0, len(chunks), batch)
        ]
        rows = pa.concat_tables(parts or [self._fragment(plan, chunks)])
        if plan.residual is not None:
            return self._residual(plan, rows)
        return rows if sent.limit is None else rows.slice(0, sent.limit)

    def _residual(self, plan: Plan, rows: pa.Table | None) -> pa.Table:
        residual = plan.residual
        if rows is not None:
            self.connection.register(PARTIALS, rows)
        result = self.connection.sql(residual.sql, params=list(residual.parameters))
        return result.to_arrow_table()

    def _fragment(self, plan: Plan, chunks: np.ndarray) -> pa.Table:
        sql = plan.fragment.sql
        for number, source in enumerate(plan.fragment.sources):
            sql = sql.replace(f"{MARK}{number}{MARK}", self._source(source, chunks))
        parameters = list(plan.fragment.parameters)
        return self.connection.sql(sql, params=parameters).to_arrow_table()

    def _source(self, source: ScanSource, chunks: np.ndarray) -> str:
        columns = ", ".join(quoted(c.name) for c in source.columns)
        if source.extent is Extent.COPY:
            return f"(SELECT {columns} FROM {source.table} WHERE {len(chunks)} > 0)"
        here = f"list_contains({chunks.tolist()}::BIGINT[], {CHUNK})"
        own = f"SELECT {columns} FROM {source.table} WHERE {here}"
        if source.extent is Extent.OWN:
            return f"({own})"
        near = f"SELECT {columns} FROM {source.table}_overlap WHERE {here}"
        return f"({own} UNION ALL {near})"

    def _version(self, table: Table) -> TableVersion:
        rows = _nulled(self.survey.rows[table.name])
        slices = list(copies(rows))
        if table.partitioned:
            located = self._located(table, rows)
            slices = list(own(located, self.tree))
            rows = pa.concat_tables(slice_.rows for slice_ in slices)
        self._store(table.name, rows)
        if table.kind is TableKind.DIRECTOR:
            near = [s.rows for s in overlap(located, self.tree, self.overlap)]
            self._store(
                f"{table.name}_overlap", pa.concat_tables(near or [rows.slice(0, 0)])
            )
        held = np.array([s.chunk for s in slices], np.int64)
        counts = np.array([s.rows.num_rows for s in slices], np.int64)
        order = np.argsort(held)
        index = (IndexShard(0, int(self._ids.min()), int(self._ids.max()), ("w",)),)
        return TableVersion(
            self.release,
            table,
            manifest_version=1,
            rows=rows.num_rows,
            statistics=ChunkStatistics(held[order], counts[order], counts[order] * 100),
            offset=max((s.offset for s in slices), default=0.0),
            index=index if table.kind is TableKind.DIRECTOR else (),
        )

    def _located(self, table: Table, rows: pa.Table) -> Located:
        order = np.argsort(self._ids)
        at = np.searchsorted(self._ids[order], rows[table.key].to_numpy())
        position = table.position or ()
        return Located(
            table,
            rows,
            self._homes[order][at],
            rows[table.key].combine_chunks(),
            *(rows[column].to_numpy() for column in position),
        )

    def _store(self, name: str, rows: pa.Table) -> None:
        self.connection.register("arriving", rows)
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")
        self.connection.unregister("arriving")


def without_pruning(plan: Plan) -> Plan:
    """Return the plan that reads every chunk: pruning may never change an answer."""
    return replace(plan, fragment=replace(plan.fragment, restrictors=()))


def _nulled(rows: pa.Table) -> pa.Table:
    for i, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            values = rows.column(i).to_pandas()
            rows = rows.set_column(
                i, field, pa.array(values, field.type, from_pandas=True)
            )
    return rows
