"""Makes the metadata again of what workers have, after its database was lost.

Everything but files comes from the newest checkpoint that a worker remembers; files and
their replicas come from the manifests and from what is really there. The czar has every
live worker remember a checkpoint after it has published a load, and only then tells the
loader: so a version that workers installed, but that the newest checkpoint does not
know, was never acknowledged. It is aborted, and its workers are told to forget it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa

from qserv import failpoint, sqltext
from qserv.catalog import replacing, tablestore
from qserv.catalog.backends import Backend
from qserv.catalog.backup import Seen, emptied
from qserv.catalog.checkpoint import Checkpoint, Read
from qserv.catalog.checkpointrows import fill
from qserv.catalog.database import Tables, batches, now, reflected
from qserv.catalog.gathered import GatheredFile, GatheredTable, Held
from qserv.catalog.publication import entry_row
from qserv.errors import Conflict, CorruptData, InvalidRequest

_REASON: Final = "the metadata was lost before the load was published"
ENOUGH: Final = 2
"""Workers that remember an acknowledged load, if as many were alive."""


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
        Whether a table may go back to an older version, or go, or be left out of older
        snapshots, if files are missing; and whether loads that may have been published
        may be given up.
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
        # Newest first: what one read again goes back to the one before, if it is lost.
        for table in chain.from_iterable(map(reversed, found.values())):
            number = self._write(table, number)
        self._raise_counter(highest)
        self.report.tables = sum(map(len, found.values()))

    def _select(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        rows = self.tables[table]
        found = self.connection.execute(sa.select(*(rows.c[name] for name in columns)))
        return [tuple(row) for row in found]

    def _tables(self) -> dict[tuple[str, str], list[GatheredTable]]:
        """Return release and table, folded -> those that were ever published.

        There are several, oldest first, where one was dropped and another was made.
        """
        wanted: dict[int, dict[int, tuple[int, int | None]]] = defaultdict(dict)
        columns = ("version", "table_id", "live_rows", "files")
        for version, table, rows, files in sorted(
            self._select("table_version", *columns), key=lambda row: row[0]
        ):
            wanted[table][version] = (rows, files)
        releases = dict(self._select("catalog_release", "id", "name"))
        definitions = self._select("catalog_table", "id", "release_id", "name")
        found = defaultdict(list)
        for table, release, name in sorted(definitions):
            if table in wanted:
                full = f"{releases[release]}.{name}"
                one = GatheredTable(table, full, wanted[table])
                found[releases[release].lower(), name.lower()].append(one)
        return found

    def _gather(
        self, found: Mapping[tuple[str, str], list[GatheredTable]]
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
                name = listed.release.lower(), listed.table.lower()
                if (table := listed.of(found.get(name, []))) is not None:
                    table.take(held.worker, listed)
        return unknown, highest

    def _write(self, table: GatheredTable, number: int) -> int:
        """Write the files of a table, numbered after those before; return the last."""
        there = table.whole()
        whole = max(there, default=0)
        if whole != max(table.wanted):
            self._lose(table, whole)
        self._leave_out(table, table.wanted.keys() - set(there), whole)
        files = [f for f in table.files.values() if f.entry.validity[0] <= whole]
        files.sort(key=lambda file: (file.entry.validity[0], file.entry.path))
        created = dict(self._select("snapshot", "id", "created"))
        for some in batches(enumerate(files, number + 1)):
            self._insert(table, some, whole, created)
        self.report.files += len(files)
        return number + len(files)

    def _lose(self, table: GatheredTable, older: int) -> None:
        what = f"goes back to snapshot {older}" if older else "is left out"
        self._tell(table, max(table.wanted), what)
        versions = self.tables["table_version"]
        newer = (versions.c.table_id == table.id, versions.c.version > older)
        self.connection.execute(sa.delete(versions).where(*newer))
        replacing.go_back(self.connection, self.tables, table.id, older)
        if not older:
            # What has its name next is another table.
            name = table.name.partition(".")[2]
            first = table.first
            tablestore.end_one(self.connection, self.tables, first, table.id, name)

    def _leave_out(
        self, table: GatheredTable, broken: Collection[int], newest: int
    ) -> None:
        """Show a table no more in older snapshots that have lost files of it."""
        versions = self.tables["table_version"]
        mine = versions.c.table_id == table.id
        hidden = sa.select(versions.c.version).where(mine, versions.c.whole == 0)
        accepted = set(self.connection.execute(hidden).scalars())
        self.connection.execute(sa.update(versions).where(mine).values(whole=1))
        for version in sorted(each for each in broken if each < newest):
            if version not in accepted:
                self._tell(table, version, "is left out there")
            one = sa.update(versions).where(mine, versions.c.version == version)
            self.connection.execute(one.values(whole=0))

    def _tell(self, table: GatheredTable, version: int, what: str) -> None:
        (rows, files), (wanted, _) = table.counts()[version], table.wanted[version]
        self.report.lost.append(
            f"of {table.name} at snapshot {version} there are {files:,} files with "
            f"{rows:,} of {wanted:,} rows, so that it {what}"
        )

    def _insert(
        self,
        table: GatheredTable,
        numbered: Sequence[tuple[int, GatheredFile]],
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
