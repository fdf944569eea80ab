"""Copies of files in the metadata: who has which, who shall, who is to drop them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from qserv.catalog import history
from qserv.catalog.database import batches, now
from qserv.catalog.snapshot import ManifestEntry
from qserv.catalog.tables import TableKind

Tables = Mapping[str, sa.Table]
Placed = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Copies:
    """All rows that say where files are; `families` name -> copies wanted.

    Of `files`, `versions` the rows; `placement` and `goal` family -> chunk -> workers;
    `held`, `bad`, `leaving` number of a file -> workers.
    """

    families: Mapping[str, int]
    files: tuple[Any, ...]
    versions: tuple[Any, ...]
    placement: Mapping[str, Placed]
    goal: Mapping[str, Placed]
    held: Mapping[int, frozenset[str]]
    bad: Mapping[int, frozenset[str]]
    leaving: Mapping[int, frozenset[str]]

    @property
    def workers(self) -> set[str]:
        """Ids of all workers that hold, or shall hold, anything."""
        placed = [*self.placement.values(), *self.goal.values()]
        held = [*self.held.values(), *self.bad.values(), *self.leaving.values()]
        return {w for of in placed for workers in of.values() for w in workers} | {
            w for workers in held for w in workers
        }


def read(connection: sa.Connection, tables: Tables) -> Copies:
    """Read where everything is, as of one moment."""
    families = tables["family"].c
    replicas, leaving = tables["replica"].c, tables["leaving"].c
    copies = connection.execute(sa.select(families.name, families.replicas))
    by_state: dict[str, dict[int, set[str]]] = {
        "live": defaultdict(set),
        "quarantined": defaultdict(set),
    }
    for number, worker, state in connection.execute(
        sa.select(replicas.entry_id, replicas.worker_id, replicas.state)
    ):
        by_state[state][number].add(worker)
    going = defaultdict(set)
    for number, worker in connection.execute(
        sa.select(leaving.entry_id, leaving.worker_id)
    ):
        going[number].add(worker)
    return Copies(
        families={row.name: row.replicas for row in copies},
        files=_files(connection, tables),
        versions=_versions(connection, tables),
        placement=_placed(connection, tables["placement"]),
        goal=_placed(connection, tables["goal"]),
        held=_frozen(by_state["live"]),
        bad=_frozen(by_state["quarantined"]),
        leaving=_frozen(going),
    )


def _frozen(found: Mapping[int, set[str]]) -> dict[int, frozenset[str]]:
    # Equal sets are one object: a million files have a few of them.
    shared: dict[frozenset[str], frozenset[str]] = {}
    return {
        number: shared.setdefault(of := frozenset(workers), of)
        for number, workers in found.items()
    }


def _files(connection: sa.Connection, tables: Tables) -> tuple[Any, ...]:
    entries, definitions = tables["manifest_entry"].c, tables["catalog_table"]
    releases = tables["catalog_release"]
    return tuple(
        connection.execute(
            sa.select(
                entries.id,
                entries.table_id,
                releases.c.family_name,
                entries.role,
                entries.chunk,
                entries.path,
                entries.size,
                entries.valid_from,
                entries.valid_to,
            )
            .join(definitions, definitions.c.id == entries.table_id)
            .join(releases, releases.c.id == definitions.c.release_id)
            .order_by(entries.id)
        ).all()
    )


def _versions(connection: sa.Connection, tables: Tables) -> tuple[Any, ...]:
    versions, definitions = tables["table_version"].c, tables["catalog_table"]
    releases, snapshots = tables["catalog_release"], tables["snapshot"]
    return tuple(
        connection.execute(
            sa.select(
                versions.table_id,
                releases.c.name.label("release"),
                definitions.c.name,
                releases.c.family_name,
                (definitions.c.kind != TableKind.REPLICATED).label("partitioned"),
                versions.version,
                versions.tree_version,
                snapshots.c.load_id,
            )
            .join(definitions, definitions.c.id == versions.table_id)
            .join(releases, releases.c.id == definitions.c.release_id)
            .join(snapshots, snapshots.c.id == versions.version)
            .order_by(versions.version, versions.table_id)
        ).all()
    )


def _placed(connection: sa.Connection, rows: sa.Table) -> dict[str, Placed]:
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for family, chunk, worker in connection.execute(
        sa.select(rows.c.family_name, rows.c.chunk, rows.c.worker_id).order_by(
            rows.c.family_name, rows.c.chunk, rows.c.preference
        )
    ):
        found[family][chunk].append(worker)
    return {
        family: {chunk: tuple(workers) for chunk, workers in chunks.items()}
        for family, chunks in found.items()
    }


def entries(
    connection: sa.Connection, tables: Tables, numbers: Iterable[int]
) -> dict[int, ManifestEntry]:
    """Return files by number, as manifests list them."""
    rows = tables["manifest_entry"]
    return {
        row.id: history.entry(row)
        for some in batches(numbers)
        for row in connection.execute(sa.select(rows).where(rows.c.id.in_(some)))
    }


def aim(connection: sa.Connection, tables: Tables, family: str, goals: Placed) -> None:
    """Write where chunks of a family shall lie; the others stay where they are."""
    rows = tables["goal"]
    connection.execute(sa.delete(rows).where(rows.c.family_name == family))
    _insert(connection, rows, family, goals)


def put(connection: sa.Connection, tables: Tables, family: str, placed: Placed) -> None:
    """Write which workers queries ask for some chunks of a family."""
    rows = tables["placement"]
    for some in batches(placed):
        connection.execute(
            sa.delete(rows).where(rows.c.family_name == family, rows.c.chunk.in_(some))
        )
    _insert(connection, rows, family, placed)


def _insert(
    connection: sa.Connection, rows: sa.Table, family: str, placed: Placed
) -> None:
    made = [
        {
            "family_name": family,
            "chunk": chunk,
            "preference": preference,
            "worker_id": worker,
        }
        for chunk, workers in placed.items()
        for preference, worker in enumerate(workers)
    ]
    if made:
        connection.execute(sa.insert(rows), made)


def gain(
    connection: sa.Connection, tables: Tables, worker: str, numbers: Collection[int]
) -> None:
    """Write that a worker has good copies of files."""
    _forget(connection, tables["leaving"], worker, numbers)
    _forget(connection, tables["replica"], worker, numbers)
    _remember(connection, tables, worker, numbers, "live")


def spoil(
    connection: sa.Connection, tables: Tables, worker: str, numbers: Collection[int]
) -> None:
    """Write that copies that a worker had are missing there, or bad."""
    _forget(connection, tables["replica"], worker, numbers)
    _remember(connection, tables, worker, numbers, "quarantined")


def _remember(
    connection: sa.Connection,
    tables: Tables,
    worker: str,
    numbers: Collection[int],
    state: str,
) -> None:
    if numbers:
        row = {"worker_id": worker, "state": state, "verified": now()}
        made = [{"entry_id": number, **row} for number in numbers]
        connection.execute(sa.insert(tables["replica"]), made)


def leave(
    connection: sa.Connection,
    tables: Tables,
    worker: str,
    numbers: Collection[int],
    *,
    drops: bool,
) -> None:
    """Write that a worker's copies are not asked for any longer.

    Parameters
    ----------
    connection, tables
        The metadata.
    worker, numbers
        Whose copies of which files.
    drops
        Whether the worker is to drop them; not if it is lost.
    """
    _forget(connection, tables["replica"], worker, numbers)
    _forget(connection, tables["leaving"], worker, numbers)
    if drops and numbers:
        made = [{"entry_id": number, "worker_id": worker} for number in numbers]
        connection.execute(sa.insert(tables["leaving"]), made)


def gone(
    connection: sa.Connection, tables: Tables, worker: str, numbers: Collection[int]
) -> None:
    """Write that a worker has dropped files."""
    _forget(connection, tables["leaving"], worker, numbers)


def _forget(
    connection: sa.Connection, rows: sa.Table, worker: str, numbers: Collection[int]
) -> None:
    for some in batches(numbers):
        connection.execute(
            sa.delete(rows).where(rows.c.worker_id == worker, rows.c.entry_id.in_(some))
        )


def set_copies(
    connection: sa.Connection, tables: Tables, family: str, copies: int
) -> None:
    """Write how many workers shall hold each chunk of a family."""
    families = tables["family"]
    connection.execute(
        sa.update(families).where(families.c.name == family).values(replicas=copies)
    )
