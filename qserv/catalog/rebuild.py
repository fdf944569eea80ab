"""Makes the metadata again of what workers have, after its database was lost.

Everything but files comes from the newest checkpoint that a worker remembers; files and
their replicas come from the manifests and from what is really there. The czar has every
live worker remember a checkpoint after it has published a load, and only then tells the
loader: so a version that workers installed, but that the newest checkpoint does not
know, was never acknowledged. It is aborted, and its workers are told to forget it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from qserv import failpoint, sqltext
from qserv.catalog.backends import Backend
from qserv.catalog.backup import Seen, emptied
from qserv.catalog.checkpoint import Checkpoint, Read, fill
from qserv.catalog.database import Tables, batches, now, reflected
from qserv.catalog.publication import entry_row
from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import Conflict, CorruptData, InvalidRequest

_REASON: Final = "the metadata was lost before the load was published"
ENOUGH: Final = 2
"""Workers that remember an acknowledged load, if as many were alive."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest of one worker, with the files only that are there."""

    release: str
    table: str
    version: int
    transaction: str
    entries: tuple[ManifestEntry, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """What one worker has.

    Parameters
    ----------
    worker, cluster
        Ids.
    checkpoint
        The newest that it remembers; None if it remembers none.
    read
        Returns the text of a part of it; may raise `CorruptData`.
    lists
        Reads its manifests; called once, since there may be many.
    """

    worker: str
    cluster: str
    checkpoint: Checkpoint | None
    read: Read
    lists: Callable[[], Iterable[Listed]] = field(repr=False)


@dataclass(slots=True)
class Report:
    """What a rebuild did.

    Parameters
    ----------
    made
        When the checkpoint was made that it started from.
    workers, missing
        Workers that were read, and those that were not.
    tables, files, copies
        How many there are.
    aborted
        Loads that were under way, or not known to be published.
    lost
        What could not be found again, in words.
    """

    made: str
    workers: tuple[str, ...]
    missing: tuple[str, ...] = ()
    tables: int = 0
    files: int = 0
    copies: int = 0
    aborted: tuple[str, ...] = ()
    lost: list[str] = field(default_factory=list)


def rebuild(
    helds: Sequence[Held],
    target: Backend,
    *,
    force: bool = False,
    allow_loss: bool = False,
    seen: Seen = lambda _: None,
) -> Report:
    """Make metadata of what workers have; what was there stays if anything fails.

    Parameters
    ----------
    helds
        What each worker has.
    target
        Where to; no czar may be running on it.
    force
        Whether to replace metadata that is there.
    allow_loss
        Whether a table may go back to an older version, or go, if files are missing;
        and whether loads that may have been published may be given up.
    seen
        Is told each part of the checkpoint that is done.

    Raises
    ------
    InvalidRequest
        If no worker remembers a catalog.
    Conflict
        If workers are of two clusters, a czar owns the target, or metadata is there.
    CorruptData
        If not everything can be found again.
    """
    newest = _newest(helds)
    with emptied(target, force=force) as connection:
        fill(connection, newest, _reader(helds), sqltext.migrations(), seen=seen)
        tables = reflected(connection)
        report = Report(newest.made, tuple(sorted(held.worker for held in helds)))
        _Rebuild(connection, tables, helds, report).rebuild()
        if report.lost and not allow_loss:
            raise CorruptData(_refusal(report))
        failpoint.reached("metadata.rebuild.written")
    return report


def _newest(helds: Sequence[Held]) -> Checkpoint:
    clusters = {held.cluster: held.worker for held in helds}
    if len(clusters) > 1:
        said = ", ".join(f"{worker} of {each}" for each, worker in clusters.items())
        raise Conflict(f"these workers are of different clusters: {said}")
    known = [held.checkpoint for held in helds if held.checkpoint]
    if not known:
        raise InvalidRequest(
            "no worker remembers a catalog: it is written as soon as a czar runs on "
            "metadata that is whole; restore a backup instead"
        )
    return max(known, key=lambda checkpoint: checkpoint.age)


def _reader(helds: Sequence[Held]) -> Read:
    def read(name: str) -> bytes:
        for held in helds:
            try:
                return held.read(name)
            except CorruptData:
                # Another worker may have a good copy.
                continue
        raise CorruptData(f"no worker has a good copy of part {name} of the catalog")

    return read


def _refusal(report: Report) -> str:
    lost = "; ".join(report.lost)
    missing = ", ".join(report.missing)
    remedy = f"read the workers {missing}, too" if missing else "look for the files"
    return f"{lost}: {remedy}, or accept the loss with --allow-loss"


@dataclass(slots=True)
class _File:
    """A file, the last version that lists it, and the workers that have it."""

    entry: ManifestEntry
    last: int
    workers: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Table:
    """A table, its published versions, and what manifests say of its files.

    Parameters
    ----------
    id, name
        In the metadata; ``release.table``.
    wanted
        Version -> its live rows and files (None: not known), oldest first.
    files
        By path.
    newest
        Worker -> the newest published version that it has a manifest of.
    """

    id: int
    name: str
    wanted: dict[int, tuple[int, int | None]]
    files: dict[str, _File] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)

    def take(self, worker: str, listed: Listed) -> None:
        """Take in a manifest."""
        # What was installed and never published still lists what had been before.
        version = max((v for v in self.wanted if v <= listed.version), default=0)
        if listed.version in self.wanted:
            self.newest[worker] = max(version, self.newest.get(worker, 0))
        for entry in listed.entries:
            if entry.validity[0] in self.wanted:
                file = self.files.setdefault(entry.path, _File(entry, version))
                file.last = max(file.last, version)
                file.workers.add(worker)

    def end(self, file: _File) -> int | None:
        """Return the version that ended a file's life; None while it is live.

        Only a worker that has the file tells it, by a later manifest without it: one
        that was away when a load was committed has none.
        """
        if all(self.newest.get(worker, 0) <= file.last for worker in file.workers):
            return None
        return min(version for version in self.wanted if version > file.last)

    def count(self, version: int) -> tuple[int, int]:
        """Return how many live rows and files there are of a version."""
        rows, files = 0, 0
        for file in self.files.values():
            end = self.end(file)
            if file.entry.validity[0] <= version and (end is None or end > version):
                files += 1
                own = file.entry.role in {Role.BASE, Role.DELTA}
                rows += file.entry.live_rows if own else 0
        return rows, files

    def whole(self) -> int:
        """Return the newest version of which everything is there; 0 for none."""
        for version in reversed(self.wanted):
            rows, files = self.count(version)
            if self.wanted[version] in {(rows, files), (rows, None)}:
                return version
        return 0


@dataclass(frozen=True, slots=True)
class _Rebuild:
    """Writes what the checkpoint does not know, inside one transaction."""

    connection: sa.Connection
    tables: Tables
    helds: Sequence[Held]
    report: Report

    def rebuild(self) -> None:
        known = self._select("worker", "id", "state")
        expected = {worker for worker, state in known if state != "lost"}
        self.report.missing = tuple(sorted(expected - {h.worker for h in self.helds}))
        found = self._tables()
        unknown, highest = self._gather(found)
        self._end_loads(unknown)
        number = 0
        for table in found.values():
            number = self._write(table, number)
        self._raise_counter(highest)
        self.report.tables = len(found)

    def _select(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        rows = self.tables[table]
        found = self.connection.execute(sa.select(*(rows.c[name] for name in columns)))
        return [tuple(row) for row in found]

    def _tables(self) -> dict[tuple[str, str], _Table]:
        """Return release and table, folded -> the table, if it was ever published."""
        wanted: dict[int, dict[int, tuple[int, int | None]]] = defaultdict(dict)
        columns = ("version", "table_id", "live_rows", "files")
        for version, table, rows, files in sorted(
            self._select("table_version", *columns), key=lambda row: row[0]
        ):
            wanted[table][version] = (rows, files)
        releases = dict(self._select("catalog_release", "id", "name"))
        definitions = self._select("catalog_table", "id", "release_id", "name")
        return {
            (releases[release].lower(), name.lower()): _Table(
                table, f"{releases[release]}.{name}", wanted[table]
            )
            for table, release, name in definitions
            if table in wanted
        }

    def _gather(
        self, found: Mapping[tuple[str, str], _Table]
    ) -> tuple[dict[str, str], int]:
        """Read all manifests once.

        Returns
        -------
        tuple
            The loads that the checkpoint does not know -> their release; the highest
            version of any manifest.
        """
        loads = {load for (load,) in self._select("load", "id")}
        unknown: dict[str, str] = {}
        highest = 0
        for held in self.helds:
            for listed in held.lists():
                highest = max(highest, listed.version)
                if listed.transaction not in loads:
                    unknown[listed.transaction] = listed.release
                table = found.get((listed.release.lower(), listed.table.lower()))
                if table is not None:
                    table.take(held.worker, listed)
        return unknown, highest

    def _write(self, table: _Table, number: int) -> int:
        """Write the files of a table, numbered after those before; return the last."""
        newest = max(table.wanted)
        if (whole := table.whole()) != newest:
            self._lose(table, newest, whole)
        files = [f for f in table.files.values() if f.entry.validity[0] <= whole]
        files.sort(key=lambda file: (file.entry.validity[0], file.entry.path))
        created = dict(self._select("snapshot", "id", "created"))
        for some in batches(enumerate(files, number + 1)):
            self._insert(table, some, whole, created)
        self.report.files += len(files)
        return number + len(files)

    def _lose(self, table: _Table, newest: int, older: int) -> None:
        (rows, files), (wanted, _) = table.count(newest), table.wanted[newest]
        goes = f"goes back to snapshot {older}" if older else "is left out"
        self.report.lost.append(
            f"of {table.name} at snapshot {newest} there are {files:,} files with "
            f"{rows:,} of {wanted:,} rows, so that it {goes}"
        )
        versions = self.tables["table_version"]
        newer = (versions.c.table_id == table.id, versions.c.version > older)
        self.connection.execute(sa.delete(versions).where(*newer))

    def _insert(
        self,
        table: _Table,
        numbered: Sequence[tuple[int, _File]],
        newest: int,
        created: Mapping[int, str],
    ) -> None:
        entries, copies = [], []
        for number, file in numbered:
            (start, _), end = file.entry.validity, table.end(file)
            row = entry_row(number, table.id, file.entry) | {"valid_from": start}
            live = end is None or end > newest
            entries.append(row | {"valid_to": None if live else end})
            copies += [
                {
                    "entry_id": number,
                    "worker_id": worker,
                    "state": "live",
                    # Then it was read back from the disk, as every file of a load.
                    "verified": created[start],
                }
                for worker in sorted(file.workers)
            ]
        self.connection.execute(sa.insert(self.tables["manifest_entry"]), entries)
        self.connection.execute(sa.insert(self.tables["replica"]), copies)
        self.report.copies += len(copies)

    def _end_loads(self, unknown: Mapping[str, str]) -> None:
        """Abort what was under way, and have workers forget it."""
        loads = self.tables["load"]
        for load, release in sorted(unknown.items()):
            row = _unknown_load(load, release)
            self.connection.execute(sa.insert(loads).values(row))
        under_way = loads.c.state == "begun"
        begun = self.connection.execute(sa.select(loads.c.id).where(under_way))
        aborted = sorted(begun.scalars())
        ended = {"state": "aborted", "ended": now(), "reason": _REASON}
        self.connection.execute(sa.update(loads).where(under_way).values(ended))
        self._discard(aborted)
        self.report.aborted = tuple(aborted)
        if unknown and len(self.report.missing) >= ENOUGH:
            self.report.lost.append(
                f"loads {', '.join(sorted(unknown))} are on workers and may have been "
                "published: those that would remember it may be among the missing"
            )

    def _discard(self, loads: Sequence[str]) -> None:
        workers = [worker for (worker,) in self._select("worker", "id")]
        rows = [{"load_id": load, "worker_id": w} for load in loads for w in workers]
        if rows:
            discards = self.tables["discard"]
            again = discards.c.load_id.in_(loads)
            self.connection.execute(sa.delete(discards).where(again))
            self.connection.execute(sa.insert(discards), rows)

    def _raise_counter(self, highest: int) -> None:
        """Never give a number again that a worker has seen."""
        cluster = self.tables["cluster"]
        lower = sa.update(cluster).where(cluster.c.allocated < highest)
        self.connection.execute(lower.values(allocated=highest))


def _unknown_load(load: str, release: str) -> dict[str, Any]:
    return {
        "id": load,
        "release_name": release,
        "family_name": release,
        "state": "begun",
        "who": "",
        "pipeline": "",
        "begun": now(),
        "reason": "",
    }
