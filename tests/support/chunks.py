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
from qserv.catalog.tables import CHUNK, HEALPIX, UNIT_VECTOR, Table, TableKind
from qserv.plan.plan import MARK, PARTIALS, Extent, KeyRestrictor, Plan, ScanSource
from qserv.plan.render import quoted
from qserv.plan.route import route
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree, Load, overlap_hosts

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
        if table.partitioned:
            rows = self._placed(table, rows)
        self._store(table.name, rows)
        if table.kind is TableKind.DIRECTOR:
            self._store_overlap(table, rows)
        chunks = rows[CHUNK].to_numpy() if table.partitioned else np.zeros(1, np.int64)
        own, counts = np.unique(chunks, return_counts=True)
        index = (IndexShard(0, int(self._ids.min()), int(self._ids.max()), ("w",)),)
        return TableVersion(
            self.release,
            table,
            manifest_version=1,
            rows=rows.num_rows,
            statistics=ChunkStatistics(own, counts, counts * 100),
            offset=self._offset(table, rows),
            index=index if table.kind is TableKind.DIRECTOR else (),
        )

    def _placed(self, table: Table, rows: pa.Table) -> pa.Table:
        order = np.argsort(self._ids)
        at = np.searchsorted(self._ids[order], rows[table.key].to_numpy())
        home = self._homes[order][at]
        rows = rows.append_column(HEALPIX, pa.array(home))
        rows = rows.append_column(CHUNK, pa.array(self.tree.locate(home)))
        if table.position is None:
            return rows
        lon, lat = (rows[c].to_numpy() for c in table.position)
        for name, part in zip(UNIT_VECTOR, healpix.unit_vectors(lon, lat), strict=True):
            rows = rows.append_column(name, pa.array(part))
        return rows

    def _store_overlap(self, table: Table, rows: pa.Table) -> None:
        lon, lat = (rows[c].to_numpy() for c in table.position)
        taken, hosts = overlap_hosts(lon, lat, self.tree, self.overlap)
        copies = rows.take(pa.array(taken))
        at = copies.schema.get_field_index(CHUNK)
        self._store(
            f"{table.name}_overlap", copies.set_column(at, CHUNK, pa.array(hosts))
        )

    def _store(self, name: str, rows: pa.Table) -> None:
        self.connection.register("arriving", rows)
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")
        self.connection.unregister("arriving")

    def _offset(self, table: Table, rows: pa.Table) -> float:
        """Bound δ by the distance to the director's position."""
        if table.kind is not TableKind.CHILD or table.position is None:
            return 0.0
        objects = self.survey.rows["Object"]
        order = np.argsort(self._ids)
        at = order[np.searchsorted(self._ids[order], rows[table.key].to_numpy())]
        theirs = healpix.unit_vectors(
            objects["ra"].to_numpy()[at], objects["dec"].to_numpy()[at]
        )
        ours = [rows[c].to_numpy() for c in UNIT_VECTOR]
        chord = sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) ** 0.5
        return float(np.degrees(2 * np.arcsin(chord.max() / 2)) * (1 + 1e-9))


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
