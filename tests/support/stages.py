"""Run the stages of a plan in one DuckDB, batch by batch, as workers and czar do."""

import warnings
from functools import lru_cache

import healpy
import numpy as np
import pyarrow as pa
from support import system

from qserv.catalog.tables import CHUNK, HEALPIX
from qserv.plan.plan import (
    MARK,
    Extent,
    FoundRestrictor,
    Fragment,
    Plan,
    Residual,
    ScanSource,
    Sharing,
    SystemRows,
    keyed,
    stage_name,
)
from qserv.plan.render import quoted
from qserv.plan.route import route
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree, pixel_ranges
from qserv.sky.healpix import ORDER
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import dilate
from qserv.wire.codec import arrow_schema


class Run:
    """One run of a plan; afterwards it tells what happened.

    Parameters
    ----------
    chunks
        The `Chunks` that it runs over.
    plan
        The plan.
    batch
        Chunks, or buckets, in a batch at most.
    parts
        Into how many batches each fragment's chunks are cut, if given.
    tight
        Whether a halo has hardly more rows than a plan may count on.
    """

    def __init__(
        self, chunks, plan: Plan, batch: int, parts: int = 0, *, tight: bool = False
    ) -> None:
        self.chunks, self.plan, self.batch, self.parts = chunks, plan, batch, parts
        self.tight = tight
        self.results: dict[int, pa.Table] = {}
        self._registered: dict[int, pa.Table] = {}
        self.routed: dict[int, int] = {}
        """Stage -> how many chunks it ran on."""
        self.reached = 0
        """Bytes of the rows that reached the czar."""

    def answer(self) -> pa.Table:
        """Run the stages in order, and return the rows of the last."""
        for number, stage in enumerate(self.plan.stages):
            if isinstance(stage, Residual):
                rows = self._residual(stage)
            elif isinstance(stage, SystemRows):
                rows = system.ROWS[stage.table].select([c.name for c in stage.columns])
            else:
                rows = self._fragment(number, stage)
                if stage.spool is None:
                    self.reached += rows.nbytes
            _check_types(number, stage, rows)
            self.results[number] = rows
        return self.results[len(self.plan.stages) - 1]

    def _residual(self, stage: Residual) -> pa.Table:
        for number in stage.inputs:
            self._register(number, self.results[number])
        return self._sql(stage.sql, stage.parameters)

    def _fragment(self, number: int, stage: Fragment) -> pa.Table:
        chunks = route(stage, self.chunks.snapshot, self._homes(stage)).chunks
        self.routed[number] = len(chunks)
        size = self.batch
        if self.parts:
            size = max(1, -(-len(chunks) // self.parts))
        parts = [
            self._batch(stage, chunks[i : i + size])
            for i in range(0, len(chunks), size)
        ]
        # Workers answer in any order.
        turn = number % len(parts) if parts else 0
        parts = [*parts[turn:], *parts[:turn]]
        rows = pa.concat_tables(parts or [arrow_schema(stage.columns).empty_table()])
        return rows if stage.limit is None else rows.slice(0, stage.limit)

    def _homes(self, stage: Fragment):
        return {
            r: self.chunks.homes(r, self._found(r)) for r in keyed(stage.restrictors)
        }

    def _found(self, restrictor) -> pa.Array | None:
        if not isinstance(restrictor, FoundRestrictor):
            return None
        found = self.results[restrictor.stage].column(restrictor.column)
        return found.combine_chunks().drop_null()

    def _batch(self, stage: Fragment, chunks: np.ndarray) -> pa.Table:
        for each in stage.inputs:
            rows = self.results[each.stage]
            if each.sharing is Sharing.BUCKET:
                rows = self._bucket(each.stage, chunks)
            self._register(each.stage, rows)
        sql = stage.sql
        for i, source in enumerate(stage.sources):
            sql = sql.replace(f"{MARK}{i}{MARK}", self._source(stage, source, chunks))
        return self._sql(sql, stage.parameters)

    def _bucket(self, number: int, buckets: np.ndarray) -> pa.Table:
        """Return the rows of an earlier stage that lie in these buckets."""
        spool = self.plan.stages[number].spool
        self._register(number, self.results[number])
        keys = ", ".join(map(quoted, spool.keys))
        return self._sql(
            f"SELECT * FROM {stage_name(number)} WHERE list_contains("
            f"{buckets.tolist()}, CAST(hash({keys}) % {spool.buckets} AS BIGINT))"
        )

    def _source(self, stage: Fragment, source: ScanSource, chunks: np.ndarray) -> str:
        columns = ", ".join(quoted(c.name) for c in source.columns) or "1"
        name = f"{quoted(source.release)}.{quoted(source.table)}"
        if source.extent is Extent.COPY:
            return f"(SELECT {columns} FROM {name})"
        here = chunks
        if source.extent is Extent.HALO and self.tight and source.reach < _WIDE:
            family = self.chunks.snapshot.families[stage.family]
            rows = halo_rows(self.chunks, source, family.tree, chunks)
            return f"(SELECT {columns} FROM {name} WHERE list_contains({rows}, rowid))"
        if source.extent is Extent.HALO:
            reached = self.chunks.snapshot.family(source.release).tree
            here = around(chunks.tobytes(), reached, source.reach)
        elif stage.family != self.chunks.snapshot.release(source.release).family:
            raise AssertionError(f"{source.table} is not cut by the tree that is run")
        tree = self.chunks.snapshot.family(source.release).tree
        read = f"SELECT {columns} FROM {name}{_among(here, tree)}"
        if source.extent is Extent.OWN_AND_OVERLAP:
            near = f"{quoted(source.release)}.{quoted(f'{source.table}_overlap')}"
            read += f" UNION ALL SELECT {columns} FROM {near}{_among(here, tree)}"
        return f"({read})"

    def _register(self, number: int, rows: pa.Table) -> None:
        if self._registered.get(number) is not rows:
            self.chunks.connection.register(stage_name(number), rows)
            self._registered[number] = rows

    def _sql(self, sql: str, parameters: tuple[str, ...] = ()) -> pa.Table:
        return fetched(self.chunks.connection, sql, parameters)


def fetched(connection, sql: str, parameters: tuple[str, ...] = ()) -> pa.Table:
    """Return what a statement gives.

    A relation would be bound twice, which costs more than another copy.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return connection.execute(sql, list(parameters) or None).to_arrow_table()


def _among(chunks: np.ndarray, tree: ChunkTree) -> str:
    if len(chunks) == len(tree):
        return ""
    return f" WHERE list_contains({chunks.tolist()}::BIGINT[], {CHUNK})"


@lru_cache(4096)
def around(packed: bytes, tree: ChunkTree, reach: float) -> np.ndarray:
    """Return the chunks of a tree within reach of some chunks, of any tree."""
    here = RangeSet.of(pixel_ranges(np.frombuffer(packed, np.int64)))
    return tree.overlapping(dilate(here, reach) if reach else here)


_WIDE = 40.0
"""Degrees; wider halos are not worth being tight."""


def halo_rows(chunks, source: ScanSource, tree: ChunkTree, batch: np.ndarray) -> str:
    """Return the numbers of the rows whose homes lie within reach of a batch."""
    key = source.release, source.table, source.reach, tree
    if key not in chunks.near:
        chunks.near[key] = _near_chunks(chunks, *key)
    near = chunks.near[key]
    found = [i for i, around in enumerate(near) if np.isin(around, batch).any()]
    return f"{found}::BIGINT[]"


def _near_chunks(
    chunks, release: str, table: str, reach: float, tree: ChunkTree
) -> list[np.ndarray]:
    """Return, row by row, the chunks that have a point within reach of its home."""
    name = f"{quoted(release)}.{quoted(table)}"
    sql = f"SELECT {HEALPIX} AS home FROM {name} ORDER BY rowid"
    homes = chunks.connection.sql(sql).to_arrow_table()["home"].to_numpy()
    order = int(np.clip(np.ceil(np.log2(586 / max(reach, 1e-4))), 3, 24))
    shift = 2 * (ORDER - order)
    found = {}
    for home in np.unique(homes).tolist():
        center = healpix.centers(ORDER, np.array([home]))[0]
        disc = healpy.query_disc(
            2**order, center, np.radians(reach), inclusive=True, nest=True
        )
        pixels = np.append(np.asarray(disc, np.int64) << shift, home)
        found[home] = np.unique(tree.locate(pixels))
    return [found[home] for home in homes.tolist()]


def _check_types(number: int, stage: Fragment | Residual, rows: pa.Table) -> None:
    planned = [(c.name, t) for c, t in zip(stage.columns, _types(stage), strict=True)]
    found = [(f.name, f.type) for f in rows.schema]
    assert found == planned, f"stage {number} gives {found}, planned are {planned}"


def _types(stage: Fragment | Residual) -> list[pa.DataType]:
    return arrow_schema(stage.columns).types


def strategies(plan: Plan) -> list[str]:
    """Name how a plan gets its rows together: ``local`` where it need not."""
    fragments = [s for s in plan.stages if isinstance(s, Fragment)]
    residuals = [s for s in plan.stages if isinstance(s, Residual)]
    sharing = {i.sharing for s in fragments for i in s.inputs}
    found = {
        "broadcast": Sharing.BROADCAST in sharing,
        "halo": any(s.extent is Extent.HALO for f in fragments for s in f.sources),
        "hash": Sharing.BUCKET in sharing,
        # To merge one fragment's rows takes one residual with one input.
        "residual": len(residuals) > 1 or any(len(r.inputs) > 1 for r in residuals),
    }
    return [name for name, is_so in found.items() if is_so] or ["local"]
