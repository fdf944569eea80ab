"""Releases partitioned in memory, and plans run over them without any process.

This is the smallest engine that a plan can be proven on: DuckDB tables that hold own
and overlap rows as a worker's files do. `support.stages` runs a plan over them.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from support.loads import locator
from support.stages import Run
from support.survey import Survey

from qserv.catalog.snapshot import (
    ChunkStatistics,
    Family,
    IndexShard,
    Release,
    ReleaseState,
    Snapshot,
    TableVersion,
)
from qserv.catalog.tables import Table, TableKind
from qserv.ingest.extremes import extremes
from qserv.ingest.partition import Located, Slice, copies, overlap, own
from qserv.ingest.rows import Rows
from qserv.ingest.stored import stored_schema
from qserv.plan.plan import (
    Fragment,
    KeyedRestrictor,
    KeyRangeRestrictor,
    KeyRestrictor,
    Plan,
    Route,
    keyed,
)
from qserv.plan.render import quoted
from qserv.plan.route import route
from qserv.sky import healpix, sqlfunctions
from qserv.sky.chunking import ChunkTree, Load
from qserv.sky.ranges import SPHERE

OVERLAP = 60 / 3600


@dataclass(frozen=True)
class _Index:
    """A director's keys and the homes that they got at first load.

    It learns the homes of children's keys that have no director, which no loader takes.
    """

    keys: pa.Array
    homes: np.ndarray

    def locate(self, keys: pa.Array) -> np.ndarray:
        """Return the home of each key; what has no director lies anywhere.

        Rows of one unknown key lie together; those without key are spread.
        """
        keys = keys.cast(self.keys.type)
        at = pc.fill_null(pc.index_in(keys, value_set=self.keys), -1).to_numpy()
        stray = np.array(
            [
                zlib.crc32(repr(i if key is None else str(key)).encode()) << 30
                for i, key in enumerate(keys.to_pylist())
            ],
            np.int64,
        )
        return np.where(at < 0, stray % SPHERE, np.append(self.homes, 0)[at])

    def learnt(self, keys: pa.Array, homes: np.ndarray) -> "_Index":
        """Return the index with the keys that it did not know."""
        keys = keys.cast(self.keys.type)
        new = pc.and_(pc.is_valid(keys), pc.invert(pc.is_in(keys, self.keys)))
        which = np.flatnonzero(new.to_numpy(zero_copy_only=False))
        if not which.size:
            return self
        more = keys.take(pa.array(which))
        return _Index(
            pa.concat_arrays([self.keys, more]),
            np.concatenate([self.homes, homes[which]]),
        )


class Chunks:
    """Releases, partitioned in memory.

    Parameters
    ----------
    survey
        The rows of the first release.
    leaf_rows
        Rows in a leaf at most; not needed with `tree`.
    release, overlap
        Its name, and its family's overlap radius in degrees.
    tree
        The chunk tree; made from the rows if None.
    radii
        Table -> its own overlap radius, where that is not the family's.
    """

    def __init__(
        self,
        survey: Survey,
        leaf_rows: int = 1,
        *,
        release: str = "t",
        overlap: float = OVERLAP,
        tree: ChunkTree | None = None,
        radii: Mapping[str, float] | None = None,
    ) -> None:
        self.survey, self.release = survey, release
        self.connection = duckdb.connect(config={"threads": 1})
        sqlfunctions.install(self.connection)
        self._radii = dict(radii or {})
        self._indexes: dict[tuple[str, str], _Index] = {}
        self._tables: dict[tuple[str, str], Table] = {}
        self.snapshot = Snapshot(7, {}, {})
        self.near: dict[tuple, list[np.ndarray]] = {}
        """What `support.stages` worked out for tight halos."""
        self.add(survey, leaf_rows, release=release, overlap=overlap, tree=tree)
        self.tree = self.snapshot.families[release].tree
        self.connection.execute(f"SET search_path = '{release}'")

    def add(
        self,
        survey: Survey,
        leaf_rows: int = 1,
        *,
        release: str,
        overlap: float = OVERLAP,
        tree: ChunkTree | None = None,
        family: str | None = None,
    ) -> None:
        """Partition one more release, by default into a family of its own."""
        for table in survey.tables.values():
            self._tables[release, table.name] = table
            if table.kind is TableKind.DIRECTOR:
                self._indexes[release, table.name] = _index(survey, table)
        known = self.snapshot.families.get(family or release)
        if known is None:
            tree = tree or self._tree(release, leaf_rows)
            known = Family(release, overlap, leaf_rows, 2**40, 1, tree, {})
        self.connection.execute(f"CREATE SCHEMA {quoted(release)}")
        versions = {
            name.lower(): self._version(survey, table, release, known)
            for name, table in survey.tables.items()
        }
        made = Release(release, ReleaseState.PUBLISHED, known.name, versions)
        self.snapshot = replace(
            self.snapshot,
            releases={**self.snapshot.releases, release.lower(): made},
            families={**self.snapshot.families, known.name: known},
        )

    def run(self, plan: Plan, batch: int = 10**9) -> pa.Table:
        """Run a plan with `batch` chunks a batch at most."""
        return self.start(plan, batch).answer()

    def start(self, plan: Plan, batch: int = 10**9, **how) -> Run:
        """Prepare to run a plan; what is returned tells afterwards what happened."""
        return Run(self, plan, batch, **how)

    def homes(self, restrictor: KeyedRestrictor, found: pa.Array | None = None):
        """Look keys up as the director index does; `found` are an earlier stage's."""
        index = self._indexes[restrictor.release, restrictor.table]
        match restrictor:
            case KeyRestrictor():
                wanted = pa.array(list(restrictor.keys), index.keys.type)
                here = pc.is_in(index.keys, value_set=wanted)
            case KeyRangeRestrictor():
                low = pc.greater_equal(index.keys, restrictor.low)
                here = pc.and_(low, pc.less_equal(index.keys, restrictor.high))
            case _:
                here = pc.is_in(index.keys, value_set=found.cast(index.keys.type))
        return index.homes[here.to_numpy(zero_copy_only=False)]

    def routes(self, plan: Plan) -> dict[int, Route]:
        """Return where the fragments run that need no earlier stage's keys."""
        routes = {}
        for number, stage in enumerate(plan.stages):
            if not isinstance(stage, Fragment):
                continue
            asked = keyed(stage.restrictors)
            if all(isinstance(r, (KeyRestrictor, KeyRangeRestrictor)) for r in asked):
                homes = {r: self.homes(r) for r in asked}
                routes[number] = route(stage, self.snapshot, homes)
        return routes

    def _tree(self, release: str, leaf_rows: int) -> ChunkTree:
        loads = [
            Load(index.homes, 100.0, director=True)
            for (name, _), index in self._indexes.items()
            if name == release
        ]
        return ChunkTree.build(
            loads, leaf_rows=leaf_rows, leaf_bytes=2**40, max_order=10
        )

    def _version(
        self, survey: Survey, table: Table, release: str, family: Family
    ) -> TableVersion:
        rows = _nulled(survey.rows[table.name])
        slices = [] if table.partitioned else list(copies(table, rows))
        if table.partitioned:
            located = self._located(table, rows, release, family)
            slices = list(own(located, family.tree)) if rows.num_rows else []
        rows = _joined(table, slices)
        name = f"{quoted(release)}.{quoted(table.name)}"
        self._store(name, rows)
        if table.overlaps:
            near = list(overlap(located, family.tree, self._radius(table, family)))
            name = f"{quoted(release)}.{quoted(f'{table.name}_overlap')}"
            self._store(name, _joined(table, near))
        return TableVersion(
            release,
            table,
            manifest_version=1,
            rows=rows.num_rows,
            statistics=_statistics(slices),
            offset=max((s.offset for s in slices), default=0.0),
            index=self._shards(release, table),
            bounds=extremes(table, rows),
            overlap=self._radius(table, family) if table.overlaps else 0.0,
        )

    def _radius(self, table: Table, family: Family) -> float:
        return self._radii.get(table.name, family.overlap)

    def _shards(self, release: str, table: Table) -> tuple[IndexShard, ...]:
        index = self._indexes.get((release, table.name))
        if index is None or table.indexed is None or not len(index.keys):
            return ()
        ends = pc.min_max(index.keys).as_py()
        return (IndexShard(0, ends["min"], ends["max"], ("w",)),)

    def _located(
        self, table: Table, rows: pa.Table, release: str, family: Family
    ) -> Located:
        if table.kind is TableKind.REF_MATCH:
            return self._pairs(table, rows, release, family)
        director = table.name if table.director is None else table.director
        keys = rows[table.key].combine_chunks()
        index = self._indexes[release, director]
        homes = index.locate(keys)
        if table.orphans:
            # As a load keeps them: where they were measured.
            lost = ~pc.is_in(keys.cast(index.keys.type), index.keys).to_numpy(False)
            lon, lat = (rows[name].to_numpy()[lost] for name in table.position)
            homes[lost] = healpix.pixels(lon, lat)
        else:
            self._indexes[release, director] = index.learnt(keys, homes)
        if table.id is not None:
            ids = rows[table.id].combine_chunks()
            self._indexes[release, table.name] = _Index(ids, homes)
        if pa.types.is_integer(keys.type):
            keys = pc.fill_null(keys, -1)
        position = table.position or ()
        return Located(
            table, rows, homes, keys, *(rows[column].to_numpy() for column in position)
        )

    def _pairs(
        self, table: Table, rows: pa.Table, release: str, family: Family
    ) -> Located:
        """Place pairs as a load does, which also proves that it would take them."""
        known = [
            Located(self._tables[where, name], rows, index.homes, _wide(index.keys))
            for (where, name), index in self._indexes.items()
            if where == release
        ]
        count = np.arange(rows.num_rows)
        found = locator(*known, overlap=self._radius(table, family)).locate(
            Rows(table, rows, count * 0, count + 1)
        )
        assert found.rejects == ()
        return found.located

    def _store(self, name: str, rows: pa.Table) -> None:
        self.connection.register("arriving", rows)
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")
        self.connection.unregister("arriving")


def without_pruning(plan: Plan) -> Plan:
    """Return the plan that reads every chunk: pruning may never change an answer."""
    stages = tuple(
        replace(s, restrictors=()) if isinstance(s, Fragment) else s
        for s in plan.stages
    )
    return replace(plan, stages=stages)


def _index(survey: Survey, table: Table) -> _Index:
    rows = survey.rows[table.name]
    lon, lat = survey.first.get(table.name) or (
        rows[name].to_numpy() for name in table.position
    )
    homes = healpix.pixels(lon, lat) if rows.num_rows else np.zeros(0, np.int64)
    return _Index(rows[table.key].combine_chunks(), homes)


def _wide(keys: pa.Array) -> pa.Array:
    return keys.cast(pa.int64()) if pa.types.is_integer(keys.type) else keys


def _joined(table: Table, slices: list[Slice]) -> pa.Table:
    if slices:
        return pa.concat_tables(s.rows for s in slices)
    return stored_schema(table).empty_table()


def _statistics(slices: list[Slice]) -> ChunkStatistics:
    held = np.array([s.chunk for s in slices], np.int64)
    counts = np.array([s.rows.num_rows for s in slices], np.int64)
    order = np.argsort(held)
    return ChunkStatistics(held[order], counts[order], counts[order] * 100)


def _nulled(rows: pa.Table) -> pa.Table:
    for i, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            values = rows.column(i).to_pandas()
            rows = rows.set_column(
                i, field, pa.array(values, field.type, from_pandas=True)
            )
    return rows
