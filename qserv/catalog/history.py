"""Reads a snapshot, newest or historical, from the metadata."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from qserv.catalog.bounds import from_text
from qserv.catalog.database import integer
from qserv.catalog.entryrows import entry_of
from qserv.catalog.snapshot import (
    EVERYWHERE,
    ChunkStatistics,
    Family,
    IndexShard,
    ManifestEntry,
    Release,
    ReleaseState,
    Role,
    Snapshot,
    TableVersion,
)
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.catalog.views import View
from qserv.errors import UnknownName
from qserv.sky.chunking import ChunkTree

Tables = Mapping[str, sa.Table]


def read_snapshot(
    connection: sa.Connection,
    tables: Tables,
    number: int | None,
    *,
    before: Snapshot | None = None,
) -> Snapshot:
    """Build the immutable view of one snapshot.

    Parameters
    ----------
    connection
        Inside a transaction, so that the view is of one moment.
    tables
        The reflected metadata tables.
    number
        The snapshot's id; None for the newest.
    before
        An earlier one, from which is taken what has the same version.

    Raises
    ------
    UnknownName
        If there is no such snapshot; names the newest.
    """
    snapshots = tables["snapshot"].c.id
    newest = connection.execute(sa.select(sa.func.max(snapshots))).scalar_one()
    number = newest if number is None else number
    if connection.execute(sa.select(snapshots).where(snapshots == number)).first():
        return _Reader(connection, tables, number, before).snapshot()
    raise UnknownName(f"there is no snapshot {number}; the newest is {newest}")


def read_tables(
    connection: sa.Connection,
    tables: Tables,
    release: str,
    *,
    number: int | None = None,
) -> dict[str, tuple[int, Table]]:
    """Return the tables of a release: lower-case name -> (metadata id, definition).

    Parameters
    ----------
    connection, tables
        Of the metadata.
    release
        Its name, in any case.
    number
        A snapshot; None for the newest.
    """
    releases, definitions = tables["catalog_release"], tables["catalog_table"]
    newest = definitions.c.valid_to.is_(None)
    there = newest if number is None else live(definitions, number)
    rows = connection.execute(
        sa.select(definitions)
        .join(releases, releases.c.id == definitions.c.release_id)
        .where(releases.c.folded == release.lower(), there)
        .order_by(definitions.c.id)
    ).all()
    return {
        row.name.lower(): (row.id, _table(row, _columns(connection, tables, row.id)))
        for row in rows
    }


def entry(row: Any) -> ManifestEntry:
    """Turn one row of ``manifest_entry`` into a value."""
    return entry_of(row, (row.valid_from, row.valid_to))


def live(entries: sa.Table, version: int) -> sa.ColumnElement[bool]:
    """Return the condition that a file, a table or a view is live at a version."""
    return sa.and_(
        entries.c.valid_from <= version,
        sa.or_(entries.c.valid_to.is_(None), entries.c.valid_to > version),
    )


def _columns(
    connection: sa.Connection, tables: Tables, table_id: int
) -> tuple[Column, ...]:
    columns = tables["catalog_column"]
    rows = connection.execute(
        sa.select(columns)
        .where(columns.c.table_id == table_id)
        .order_by(columns.c.position)
    )
    return tuple(
        Column(
            name=row.name,
            datatype=DataType(row.datatype),
            unit=row.unit,
            ucd=row.ucd,
            description=row.description,
            nullable=bool(row.nullable),
            length=row.length,
        )
        for row in rows
    )


def _table(row: Any, columns: tuple[Column, ...]) -> Table:
    return Table(
        name=row.name,
        kind=TableKind(row.kind),
        columns=columns,
        key=row.key_column,
        director=row.director,
        position=(row.longitude, row.latitude) if row.longitude else None,
        description=row.description,
        second_key=row.second_key,
        second_director=row.second_director,
        id=row.id_column,
        orphans=bool(row.orphans),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads everything as it was at snapshot `number`."""

    connection: sa.Connection
    tables: Tables
    number: int
    before: Snapshot | None

    def snapshot(self) -> Snapshot:
        families = {family.name: family for family in self._families()}
        releases = self.tables["catalog_release"]
        rows = self.connection.execute(sa.select(releases).order_by(releases.c.id))
        found = [(row, self._versions(row, families)) for row in rows.all()]
        return Snapshot(
            id=self.number,
            releases={
                row.folded: Release(
                    name=row.name,
                    state=ReleaseState(row.state),
                    family=row.family_name,
                    tables=versions,
                    views=self._views(row.id),
                )
                for row, versions in found
                # One whose tables all went is there, and keeps its family.
                if versions or self._begun(row.id)
            },
            families=families,
        )

    def _families(self) -> Iterator[Family]:
        families, trees = self.tables["family"], self.tables["tree"]
        rows = self.connection.execute(
            sa.select(families, sa.func.max(trees.c.version).label("version"))
            .join(trees, trees.c.family_name == families.c.name)
            .where(trees.c.snapshot_id <= self.number)
            .group_by(families.c.name)
        )
        known = self.before.families if self.before else {}
        for row in rows.all():
            same = known.get(row.name)
            if same is not None and same.tree_version == row.version:
                yield same
                continue
            yield Family(
                name=row.name,
                overlap=row.overlap,
                leaf_rows=row.leaf_rows,
                leaf_bytes=row.leaf_bytes,
                tree_version=row.version,
                tree=self._tree(row.name, row.version),
                replicas=self._replicas(row.name),
                copies=row.replicas,
                cut=self._cut(row.name),
            )

    def _tree(self, family: str, version: int) -> ChunkTree:
        leaves = self.tables["leaf"]
        chunks = self.connection.execute(
            sa.select(leaves.c.chunk)
            .where(leaves.c.family_name == family, leaves.c.version == version)
            .order_by(leaves.c.position)
        ).scalars()
        return ChunkTree(chunks=np.fromiter(chunks, np.int64))

    def _replicas(self, family: str) -> dict[int, tuple[str, ...]]:
        placed = self.tables["placement"]
        rows = self.connection.execute(
            sa.select(placed.c.chunk, placed.c.worker_id)
            .where(placed.c.family_name == family)
            .order_by(placed.c.chunk, placed.c.preference)
        )
        workers: dict[int, list[str]] = defaultdict(list)
        for chunk, worker in rows:
            workers[chunk].append(worker)
        # Equal lists are one object: a hundred thousand chunks have a few of them.
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        return {
            chunk: shared.setdefault(tuple(names), tuple(names))
            for chunk, names in workers.items()
        }

    def _versions(
        self, release: Any, families: Mapping[str, Family]
    ) -> dict[str, TableVersion]:
        if (family := families.get(release.family_name)) is None:
            return {}
        versions = {}
        tables = read_tables(
            self.connection, self.tables, release.name, number=self.number
        )
        for name, (table_id, table) in tables.items():
            if row := self._version(table_id):
                known = self._known(release.folded, name, family)
                if known and (known.manifest_version, known.table) == (
                    row.version,
                    table,
                ):
                    versions[name] = known
                    continue
                statistics, offset = self._statistics(row, family.tree)
                versions[name] = TableVersion(
                    release=release.name,
                    table=table,
                    manifest_version=row.version,
                    rows=row.live_rows,
                    statistics=statistics,
                    offset=offset,
                    index=tuple(self._index(row)),
                    bounds=from_text(row.bounds),
                    overlap=row.overlap,
                )
        return versions

    def _begun(self, release_id: int) -> bool:
        """Whether a release ever had a table by then."""
        return self._had(self.tables["catalog_release"].c.id == release_id)

    def _cut(self, family: str) -> bool:
        """Whether a family ever had a table that its tree cuts."""
        kinds = self.tables["catalog_table"].c.kind
        families = self.tables["catalog_release"].c.family_name
        return self._had(families == family, kinds != TableKind.REPLICATED)

    def _had(self, *conditions: sa.ColumnElement[bool]) -> bool:
        releases = self.tables["catalog_release"]
        definitions = self.tables["catalog_table"]
        found = (
            sa.select(sa.literal(1))
            .join_from(definitions, releases)
            .where(definitions.c.valid_from <= self.number, *conditions)
        )
        return self.connection.execute(found.limit(1)).first() is not None

    def _views(self, release_id: int) -> dict[str, View]:
        views = self.tables["catalog_view"]
        rows = self.connection.execute(
            sa.select(views)
            .where(views.c.release_id == release_id, live(views, self.number))
            .order_by(views.c.folded)
        )
        return {
            row.folded: View(row.name, row.definition, row.description, row.valid_from)
            for row in rows
        }

    def _version(self, table_id: int) -> Any:
        """Return what a table was, if its files are all known."""
        versions = self.tables["table_version"]
        row = self.connection.execute(
            sa.select(versions)
            .where(versions.c.table_id == table_id, versions.c.version <= self.number)
            .order_by(versions.c.version.desc())
            .limit(1)
        ).first()
        return row if row and row.whole else None

    def _known(self, release: str, table: str, family: Family) -> TableVersion | None:
        """Return the table as it was before, if it was cut by the same tree."""
        if self.before is None or release not in self.before.releases:
            return None
        same = self.before.families.get(family.name)
        if same is None or same.tree_version != family.tree_version:
            return None
        return self.before.releases[release].tables.get(table)

    def _statistics(
        self, version: Any, tree: ChunkTree
    ) -> tuple[ChunkStatistics, float | None]:
        rows = [row for row in self._by_chunk(version) if row.rows]
        unknown = any(row.unmeasured for row in rows)
        offset = None if unknown else max((row.delta for row in rows), default=0.0)
        chunks = np.array([row.chunk for row in rows], np.int64)
        order = np.arange(chunks.size)
        if chunks.size and chunks[0] != EVERYWHERE:
            order = np.argsort(tree.positions(chunks))
        return ChunkStatistics(
            chunks=chunks[order],
            rows=np.array([row.rows for row in rows], np.int64)[order],
            size=np.array([row.size for row in rows], np.int64)[order],
        ), offset

    def _by_chunk(self, version: Any) -> Sequence[Any]:
        entries = self.tables["manifest_entry"]
        own = entries.c.role.in_([Role.BASE, Role.DELTA])
        unmeasured = sa.and_(own, entries.c.delta.is_(None))
        return self.connection.execute(
            sa.select(
                entries.c.chunk,
                integer(
                    sa.func.sum(sa.case((own, entries.c.live_rows), else_=0))
                ).label("rows"),
                integer(sa.func.sum(entries.c.size)).label("size"),
                sa.func.max(sa.case((own, entries.c.delta))).label("delta"),
                sa.func.max(sa.case((unmeasured, 1), else_=0)).label("unmeasured"),
            )
            .where(
                entries.c.table_id == version.table_id,
                entries.c.role != Role.INDEX,
                live(entries, version.version),
            )
            .group_by(entries.c.chunk)
        ).all()

    def _index(self, version: Any) -> Iterator[IndexShard]:
        entries, replicas = self.tables["manifest_entry"], self.tables["replica"]
        rows = self.connection.execute(
            sa.select(entries.c.chunk, entries.c.bounds, replicas.c.worker_id)
            # A shard that nobody has is one all the same: asking it must fail, for
            # without it its keys would seem not to exist.
            .join(replicas, replicas.c.entry_id == entries.c.id, isouter=True)
            .where(
                entries.c.table_id == version.table_id,
                entries.c.role == Role.INDEX,
                live(entries, version.version),
            )
            # Good copies are asked before those in quarantine.
            .order_by(entries.c.chunk, replicas.c.state != "live", replicas.c.worker_id)
        )
        workers: dict[tuple[int, str], list[str]] = defaultdict(list)
        for shard, bounds, worker in rows:
            workers[shard, bounds] += [worker] if worker else []
        for (shard, bounds), names in workers.items():
            ((low, high),) = json.loads(bounds).values()
            yield IndexShard(shard=shard, low=low, high=high, workers=tuple(names))
