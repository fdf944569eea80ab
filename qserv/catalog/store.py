"""The cluster's durable metadata: what is live, who holds it, how it came to be.

One commit of a load is one metadata transaction: manifests, files, replicas, placement
and the new snapshot id become visible together or not at all.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from qserv import failpoint, patience
from qserv.catalog import filestore, history, loadstore, tablestore, viewstore
from qserv.catalog.backends import backend, remember
from qserv.catalog.checkpoint import FILES, TRANSIENT, Checkpoint, PartName
from qserv.catalog.checkpointrows import take
from qserv.catalog.database import Database, now
from qserv.catalog.health import BEHIND
from qserv.catalog.provenance import Load
from qserv.catalog.publication import HeldFile, Publication, write
from qserv.catalog.snapshot import Snapshot
from qserv.catalog.views import View
from qserv.errors import Conflict, MetadataBehind
from qserv.telemetry import logger

_BEYOND: Final = 1_000_000
"""More snapshots than can have been made after a backup."""

_log = logger(__name__)


class Store:
    """The metadata of one cluster; safe to call from several threads.

    Parameters
    ----------
    database
        An open database; the store closes it.

    Attributes
    ----------
    cluster_id
        Drawn when the metadata was made.
    epoch
        Grows by one each time a czar opens the metadata: fences what an earlier one
        sent.
    tables
        The database's tables by name.
    changes
        Grows whenever something may have been written.
    ahead
        Worker -> the newest snapshot that it remembers, where this one is newer than
        any here: then the metadata was lost, and older metadata took its place.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.tables = database.tables
        self._write = threading.RLock()
        self.changes = 0
        self.ahead: dict[str, int] = {}
        with database.opening() as connection:
            self.cluster_id, self.epoch = self._found(connection)
            self._newest = self._read(connection)

    @classmethod
    def open(cls, directory: Path, place: str = "") -> "Store":
        """Open the metadata of a czar, or make it.

        Parameters
        ----------
        directory
            The czar's.
        place
            ``"sqlite"``: in the directory; a URL of PostgreSQL; empty: where it was.

        Raises
        ------
        Conflict
            If another czar owns the metadata.
        InvalidRequest
            If a newer qserv wrote the metadata, or the place is none.
        MetadataUnavailable
            If the database does not answer.
        """
        found = backend(directory, place)
        store = cls(Database(found))
        remember(directory, found)
        return store

    def heard(self, worker: str, remembered: int) -> None:
        """Hear which snapshot is the newest in the metadata that a worker remembers."""
        if remembered <= self._newest.id:
            self.ahead.pop(worker, None)
        elif self.ahead.get(worker) != remembered:
            self.ahead[worker] = remembered
            _log.error("metadata behind", why=self.trouble)

    @property
    def trouble(self) -> str:
        """Why nothing may be published; empty where nothing is wrong."""
        if not self.ahead:
            return ""
        worker = max(self.ahead, key=self.ahead.__getitem__)
        return (
            f"worker {worker} remembers snapshot {self.ahead[worker]}, the metadata "
            f"ends with {self._newest.id}: it was restored, or lost its newest part, "
            "and nothing is published on it"
        )

    def check_newest(self) -> None:
        """See that nobody remembers newer metadata.

        Raises
        ------
        MetadataBehind
            If somebody does: what is published now would take the place of it.
        """
        if trouble := self.trouble:
            raise MetadataBehind(f"{trouble}; {BEHIND}")

    def accept(self) -> Snapshot:
        """Take this metadata for the newest, whatever workers remember.

        They forget what is newer: the next snapshot has a number that none ever had.
        """
        cluster = self.tables["cluster"]
        beyond = cluster.c.allocated + _BEYOND
        with self.writing() as connection:
            connection.execute(sa.update(cluster).values(allocated=beyond))
        return self._viewed(lambda *_: None)

    def close(self) -> None:
        """Close the metadata and give its directory up."""
        self._database.close()

    def snapshot(self, number: int | None = None) -> Snapshot:
        """Return what was live at a snapshot; the newest comes from memory.

        Raises
        ------
        UnknownName
            If there is no such snapshot.
        """
        newest = self._newest
        if number is None or number == newest.id:
            return newest
        with self.reading() as connection:
            return history.read_snapshot(connection, self.tables, number)

    def join(self, worker: str, endpoint: str) -> None:
        """Remember a worker and where it listens."""
        workers = self.tables["worker"]
        values = {"endpoint": endpoint, "joined": now()}
        with self.writing() as connection:
            known = sa.update(workers).where(workers.c.id == worker).values(values)
            if connection.execute(known).rowcount == 0:
                connection.execute(sa.insert(workers).values(id=worker, **values))

    def begin(self, load: Load) -> None:
        """Remember that a load has begun."""
        with self.writing() as connection:
            loadstore.remember(connection, self.tables, load)

    def abort(self, load: str, reason: str, workers: Iterable[str]) -> None:
        """Remember that a load has failed and which workers have yet to forget it.

        Raises
        ------
        Conflict
            If it is committed: its files are live.
        """
        with self.writing() as connection:
            if loadstore.is_committed(connection, self.tables, load):
                raise Conflict(f"load {load} is committed: it cannot be aborted")
            self._end(connection, load, "aborted", reason)
            if rows := [{"load_id": load, "worker_id": worker} for worker in workers]:
                connection.execute(sa.insert(self.tables["discard"]), rows)

    def discards(self, worker: str) -> tuple[str, ...]:
        """Return the aborted loads that a worker has yet to forget."""
        discards = self.tables["discard"]
        with self.reading() as connection:
            return tuple(
                connection.execute(
                    sa.select(discards.c.load_id).where(discards.c.worker_id == worker)
                ).scalars()
            )

    def discarded(self, load: str, worker: str) -> None:
        """Remember that a worker has forgotten an aborted load."""
        discards = self.tables["discard"]
        with self.writing() as connection:
            connection.execute(
                sa.delete(discards).where(
                    discards.c.load_id == load, discards.c.worker_id == worker
                )
            )

    def allocate(self) -> int:
        """Return a number for a commit, larger than any before, never given again."""
        with self.writing() as connection:
            return self._allocated(connection)

    def files(self, release: str, table: str) -> tuple[HeldFile, ...]:
        """Return the live files of a table and who holds them; none for a new one."""
        with self.reading() as connection:
            return filestore.files(connection, self.tables, release, table)

    def keepers(self, release: str, table: str) -> tuple[filestore.Keepers, ...]:
        """Return who holds the live files of a table; none for a new one."""
        with self.reading() as connection:
            return filestore.keepers(connection, self.tables, release, table)

    def publish(self, publication: Publication) -> Snapshot:
        """Make a load visible, whole, and return the snapshot that shows it.

        While the database does not answer it is asked again for some time: an answer
        that was lost on its way may have been that the load is committed.

        Raises
        ------
        MetadataUnavailable
            If it still does not answer: the load is committed, or not at all.
        """

        def publish(connection: sa.Connection) -> None:
            if not loadstore.is_committed(connection, self.tables, publication.load):
                write(connection, self.tables, publication)
                self._end(connection, publication.load, "committed", "")
            failpoint.reached("metadata.publish.written")

        return self._changed(publish)

    def create_view(self, release: str, view: View) -> Snapshot:
        """Make a view, or one in the place of another; return the new snapshot.

        Raises
        ------
        Conflict
            If a table of the release has its name.
        """
        return self._viewed(
            lambda connection, number: viewstore.put(
                connection, self.tables, number, release, view
            )
        )

    def drop_view(self, release: str, name: str) -> Snapshot:
        """End a view; return the new snapshot. Those before it keep the view."""
        return self._viewed(
            lambda connection, number: viewstore.end(
                connection, self.tables, number, release, name
            )
        )

    def drop_tables(self, release: str, names: Iterable[str]) -> Snapshot:
        """End tables; return the new snapshot. Those before it keep them."""
        return self._viewed(
            lambda connection, number: tablestore.end(
                connection, self.tables, number, release, names
            )
        )

    def _viewed(self, change: Callable[[sa.Connection, int], None]) -> Snapshot:
        """Make a snapshot of a change that touches no file."""

        def make(connection: sa.Connection) -> None:
            number = self._allocated(connection)
            made = {"id": number, "created": now()}
            connection.execute(sa.insert(self.tables["snapshot"]).values(made))
            change(connection, number)

        return self._changed(make)

    def _changed(self, change: Callable[[sa.Connection], None]) -> Snapshot:
        """Make a change until it is known to be made, and return what is live then."""
        self.check_newest()

        def made(connection: sa.Connection) -> Snapshot:
            change(connection)
            return self._read(connection, self._newest)

        return patience.for_metadata()(self._shown, made)

    def _shown(self, made: Callable[[sa.Connection], Snapshot]) -> Snapshot:
        """Write, and show what is live then: before anybody else writes again."""
        with self._write:
            with self.writing() as connection:
                newest = made(connection)
            self._newest = newest
            return newest

    def _read(
        self, connection: sa.Connection, before: Snapshot | None = None
    ) -> Snapshot:
        return history.read_snapshot(connection, self.tables, None, before=before)

    def _allocated(self, connection: sa.Connection) -> int:
        cluster = self.tables["cluster"]
        connection.execute(sa.update(cluster).values(allocated=cluster.c.allocated + 1))
        found = connection.execute(sa.select(cluster.c.allocated))
        return int(found.scalar_one())

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection whose block sees one state of the metadata."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def writing(self, *, passing: bool = False) -> Iterator[sa.Connection]:
        """Give a connection whose block is written whole or not at all, alone.

        Parameters
        ----------
        passing
            Whether what is written ends with a load: it does not count as a change.

        Raises
        ------
        CzarReplaced
            If a newer czar has taken the metadata over.
        MetadataUnavailable
            If the database does not answer.
        """
        with self._write:
            try:
                with self._database.writing(self.epoch) as connection:
                    yield connection
            finally:
                # Not before it is there: who reads then would not read again.
                self.changes += not passing

    def checkpoint(self, keep: Callable[[PartName, bytes], None]) -> Checkpoint:
        """Turn into text what workers are to remember of it."""
        with self.reading() as connection:
            return take(connection, self.tables, keep, without=FILES | TRANSIENT)

    def confirm(self) -> None:
        """See that this czar is the newest.

        Raises
        ------
        CzarReplaced
            If it is not.
        """
        with self.reading() as connection:
            self._database.check(connection, self.epoch)

    def refreshed(self) -> Snapshot:
        """Read the newest snapshot again, after what it says of it was changed."""
        return self._shown(self._read)

    def _found(self, connection: sa.Connection) -> tuple[str, int]:
        cluster = self.tables["cluster"]
        connection.execute(sa.update(cluster).values(epoch=cluster.c.epoch + 1))
        row = connection.execute(sa.select(cluster)).one()
        return row.id, row.epoch

    def _end(
        self, connection: sa.Connection, load: str, state: str, reason: str
    ) -> None:
        loads = self.tables["load"]
        connection.execute(
            sa.update(loads)
            .where(loads.c.id == load, loads.c.state == "begun")
            .values(state=state, ended=now(), reason=reason)
        )
        loadstore.forget(connection, self.tables, load)
