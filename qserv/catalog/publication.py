"""What one commit of a load makes visible, and how it is written down."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from qserv.catalog import history, replacing, viewstore
from qserv.catalog.bounds import Bounds, from_text, to_text, widened
from qserv.catalog.counters import reserve
from qserv.catalog.database import integer, now
from qserv.catalog.entryrows import values_of
from qserv.catalog.provenance import Contribution
from qserv.catalog.replacing import Replaced
from qserv.catalog.snapshot import Family, ManifestEntry, ReleaseState, Role
from qserv.catalog.tables import Table
from qserv.failpoint import reached


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file of a table and the ids of the workers that hold a verified copy."""

    table: str
    entry: ManifestEntry
    workers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that one commit makes visible.

    Parameters
    ----------
    load
        Id of the load.
    version
        The number from `Store.allocate`: the snapshot id and the manifest version of
        every table touched.
    release
        The release that the tables are in; made when it is new.
    family
        Its family with tree and placement; made when it is new.
    replicas
        Copies of each chunk that the family asks for.
    tables
        All tables that the load touches; made when they are new.
    files
        The new files.
    contributions
        Where their rows came from.
    bounds
        Table -> bounds of its new rows.
    replaces
        What goes.
    radii
        Table -> the overlap radius that all its files are made with, degrees.
    """

    load: str
    version: int
    release: str
    family: Family
    replicas: int
    tables: tuple[Table, ...]
    files: tuple[HeldFile, ...]
    contributions: tuple[Contribution, ...]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    replaces: tuple[Replaced, ...] = ()
    radii: Mapping[str, float] = field(default_factory=dict)


def entry_row(number: int, table_id: int, entry: ManifestEntry) -> dict[str, Any]:
    """Return a row of ``manifest_entry``, without when it is valid."""
    return {"id": number, "table_id": table_id, **values_of(entry)}


def write(
    connection: sa.Connection,
    tables: Mapping[str, sa.Table],
    publication: Publication,
) -> None:
    """Write a publication; whole if the caller's transaction commits, else not."""
    _Writer(connection, tables, publication).write()


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes one publication inside one transaction."""

    connection: sa.Connection
    tables: Mapping[str, sa.Table]
    publication: Publication

    def write(self) -> None:
        publication = self.publication
        self._insert(
            "snapshot",
            [
                {
                    "id": publication.version,
                    "load_id": publication.load,
                    "created": now(),
                }
            ],
        )
        self._family()
        self._replaced()
        self._release()
        known = history.read_tables(self.connection, self.tables, publication.release)
        ids = {name: number for name, (number, _) in known.items()}
        self._files(ids)
        reached("czar.publish.files")
        self._contributions(ids)
        for each in publication.replaces:
            number, kept = ids[each.table.lower()], each.kept
            replacing.keep(
                self.connection, self.tables, publication.version, number, kept
            )
        for table in publication.tables:
            self._version(ids[table.name.lower()], table.name)

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.connection.execute(sa.insert(self.tables[table]), rows)

    def _delete(self, table: str, **values: Any) -> None:
        rows = self.tables[table]
        same = (rows.c[name] == value for name, value in values.items())
        self.connection.execute(sa.delete(rows).where(*same))

    def _next(self, table: str) -> int:
        highest = sa.select(sa.func.max(self.tables[table].c.id))
        return (self.connection.execute(highest).scalar_one() or 0) + 1

    def _has(self, table: str, **values: Any) -> bool:
        columns = self.tables[table].c
        same = (columns[name] == value for name, value in values.items())
        found = self.connection.execute(sa.select(sa.literal(1)).where(*same))
        return found.first() is not None

    def _family(self) -> None:
        family, publication = self.publication.family, self.publication
        tree = {"family_name": family.name, "version": family.tree_version}
        if self._has("tree", **tree):
            return
        self._delete("placement", family_name=family.name)
        layout = {
            "overlap": family.overlap,
            "leaf_rows": family.leaf_rows,
            "leaf_bytes": family.leaf_bytes,
            "replicas": publication.replicas,
        }
        families = self.tables["family"]
        known = sa.update(families).where(families.c.name == family.name).values(layout)
        if self.connection.execute(known).rowcount == 0:
            self._insert("family", [{"name": family.name, **layout}])
        self._insert("tree", [{**tree, "snapshot_id": publication.version}])
        self._insert(
            "leaf",
            [
                {**tree, "position": position, "chunk": chunk}
                for position, chunk in enumerate(family.tree.chunks.tolist())
            ],
        )
        self._insert(
            "placement",
            [
                {
                    "family_name": family.name,
                    "chunk": chunk,
                    "preference": preference,
                    "worker_id": worker,
                }
                for chunk, workers in family.replicas.items()
                for preference, worker in enumerate(workers)
            ],
        )

    def _replaced(self) -> None:
        publication = self.publication
        replacing.end(
            self.connection,
            self.tables,
            publication.version,
            publication.release,
            publication.replaces,
        )
        reached("czar.publish.replaced")

    def _release(self) -> None:
        publication, name = self.publication, self.publication.release
        if not self._has("catalog_release", folded=name.lower()):
            self._insert(
                "catalog_release",
                [
                    {
                        "id": self._next("catalog_release"),
                        "name": name,
                        "folded": name.lower(),
                        "state": ReleaseState.PUBLISHED,
                        "family_name": publication.family.name,
                        "created": now(),
                    }
                ],
            )
        releases = self.tables["catalog_release"]
        release_id = self.connection.execute(
            sa.select(releases.c.id).where(releases.c.folded == name.lower())
        ).scalar_one()
        for table in publication.tables:
            folded = table.name.lower()
            if not self._has("catalog_table", release_id=release_id, folded=folded):
                viewstore.refuse(self.connection, self.tables, release_id, table.name)
                self._table(release_id, table)

    def _table(self, release_id: int, table: Table) -> None:
        table_id = self._next("catalog_table")
        longitude, latitude = table.position or (None, None)
        self._insert(
            "catalog_table",
            [
                {
                    "id": table_id,
                    "release_id": release_id,
                    "name": table.name,
                    "folded": table.name.lower(),
                    "kind": table.kind,
                    "key_column": table.key,
                    "director": table.director,
                    "second_key": table.second_key,
                    "second_director": table.second_director,
                    "id_column": table.id,
                    "longitude": longitude,
                    "latitude": latitude,
                    "description": table.description,
                    "orphans": int(table.orphans),
                    "valid_from": self.publication.version,
                }
            ],
        )
        self._insert(
            "catalog_column",
            [
                {
                    "table_id": table_id,
                    "position": position,
                    "name": column.name,
                    "datatype": column.datatype,
                    "unit": column.unit,
                    "ucd": column.ucd,
                    "description": column.description,
                    "nullable": column.nullable,
                    "length": column.length,
                }
                for position, column in enumerate(table.columns)
            ],
        )

    def _files(self, ids: Mapping[str, int]) -> None:
        first, verified = self._next("manifest_entry"), now()
        files = self.publication.files
        self._insert(
            "manifest_entry",
            [
                entry_row(number, ids[file.table.lower()], file.entry)
                | {"valid_from": self.publication.version}
                for number, file in enumerate(files, first)
            ],
        )
        self._insert(
            "replica",
            [
                {
                    "entry_id": number,
                    "worker_id": worker,
                    "state": "live",
                    "verified": verified,
                }
                for number, file in enumerate(files, first)
                for worker in sorted(file.workers)
            ],
        )

    def _contributions(self, ids: Mapping[str, int]) -> None:
        contributions = self.publication.contributions
        unnumbered = sum(not contribution.number for contribution in contributions)
        first = reserve(self.connection, self.tables, "contributions", unnumbered) + 1
        numbers = itertools.count(first)
        self._insert(
            "contribution",
            [
                {
                    "id": contribution.number or next(numbers),
                    "load_id": self.publication.load,
                    "table_id": ids[contribution.table.lower()],
                    "source": contribution.source,
                    "sha256": contribution.sha256,
                    "total_rows": contribution.rows,
                    "nulled": contribution.nulled,
                    "wrapped": contribution.wrapped,
                    "rejected": contribution.rejected,
                    "held_since": self.publication.version,
                }
                for contribution in contributions
            ],
        )

    def _bounds(self, table_id: int, table: str) -> dict[str, str]:
        """Widen the bounds that are known of older rows by those of the new ones."""
        files = [f.entry for f in self.publication.files if f.table == table]
        if any(entry.role is Role.DELTA for entry in files):
            return {"bounds": to_text({}), "own_bounds": to_text({})}
        new = self.publication.bounds.get(table, {})
        known = self._bounds_before(table_id, table)
        if known is None:
            known = new
        elif any(entry.role is Role.BASE for entry in files):
            known = widened(known, new)
        return {"bounds": to_text(known), "own_bounds": to_text(new)}

    def _bounds_before(self, table_id: int, table: str) -> Bounds | None:
        """Return the bounds of the rows that stay; None if there are none."""
        if table.lower() in replacing.named(self.publication.replaces):
            version = self.publication.version
            return replacing.bounds_left(
                self.connection, self.tables, table_id, version
            )
        versions = self.tables["table_version"].c
        before = self.connection.execute(
            sa.select(versions.bounds, versions.live_rows)
            .where(versions.table_id == table_id)
            .order_by(versions.version.desc())
            .limit(1)
        ).first()
        return from_text(before.bounds) if before and before.live_rows else None

    def _version(self, table_id: int, table: str) -> None:
        entries, version = self.tables["manifest_entry"], self.publication.version
        own = entries.c.role.in_([Role.BASE, Role.DELTA])
        live_rows = sa.func.sum(sa.case((own, entries.c.live_rows), else_=0))
        rows, files = self.connection.execute(
            sa.select(integer(sa.func.coalesce(live_rows, 0)), sa.func.count()).where(
                entries.c.table_id == table_id, history.live(entries, version)
            )
        ).one()
        self._insert(
            "table_version",
            [
                {
                    "table_id": table_id,
                    "version": version,
                    "tree_version": self.publication.family.tree_version,
                    "live_rows": rows,
                    "files": files,
                    "overlap": self.publication.radii.get(table, 0.0),
                    **self._bounds(table_id, table),
                }
            ],
        )
