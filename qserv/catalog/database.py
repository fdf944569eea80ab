"""The metadata's database: owned by one czar, migrated, every statement durable.

The schema stands in ``sql/metadata`` alone; the tables here are reflected from it. What
SQLite and PostgreSQL do in ways of their own is in `qserv.catalog.backends`.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from qserv import failpoint, sqltext
from qserv.catalog.backends import WRITES, Backend
from qserv.errors import (
    CzarReplaced,
    InvalidRequest,
    MetadataDamaged,
    MetadataUnavailable,
)

Scripts = list[tuple[int, str]]
Tables = Mapping[str, sa.Table]
T = TypeVar("T")

REMEDY: Final = (
    "stop the czar, then qserv metadata restore BACKUP, or qserv metadata rebuild"
)
"""What helps when the metadata is damaged."""
_PARAMETERS: Final = 10_000
"""Values that one statement binds; PostgreSQL takes 65,535."""


def now() -> str:
    """Return the present time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def since(time: str) -> float:
    """Return the seconds since a time that `now` told; 0 for none."""
    if not time:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())


def integer(value: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """Have a sum of whole numbers be one: PostgreSQL's is a decimal number."""
    return sa.cast(value, sa.BigInteger)


def batches(values: Iterable[T], size: int = _PARAMETERS) -> Iterator[list[T]]:
    """Cut what a statement is to bind into as much as it may."""
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch


class Database:
    """The metadata of one cluster, of the newest format.

    Parameters
    ----------
    backend
        Where it is; the database closes it.
    migrations
        Returns the numbered migration scripts, oldest first.

    Attributes
    ----------
    tables
        By name.

    Raises
    ------
    Conflict
        If another czar owns it.
    InvalidRequest
        If a newer qserv wrote the metadata.
    MetadataUnavailable
        If the database does not answer.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        migrations: Callable[[], Scripts] = sqltext.migrations,
    ) -> None:
        self._backend = backend
        try:
            with told(backend):
                backend.own()
                with self._transaction(**WRITES) as connection:
                    migrate(connection, migrations(), str(backend))
                self.tables = reflected(backend.engine)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection whose block sees one state of the metadata.

        Raises
        ------
        MetadataUnavailable
            If the database does not answer.
        """
        with (
            told(self._backend),
            self._transaction(**self._backend.reads) as connection,
        ):
            yield connection

    @contextmanager
    def opening(self) -> Iterator[sa.Connection]:
        """Give a connection as `writing` does, to a czar that has no epoch yet."""
        with told(self._backend), self._transaction(**WRITES) as connection:
            yield connection

    @contextmanager
    def writing(self, epoch: int) -> Iterator[sa.Connection]:
        """Give a connection whose block is written whole or not at all.

        Its first statement waits for whoever else writes, and is what fences: of two
        czars that both think that they own the metadata, only the newer one writes.

        Parameters
        ----------
        epoch
            Of the czar that writes.

        Raises
        ------
        CzarReplaced
            If there is a newer czar.
        MetadataUnavailable
            If the database does not answer. The block may have been written all the
            same if the answer to its commit was lost: ask before trying again.
        """
        with told(self._backend):
            self._backend.keep()
            with self._transaction(**WRITES) as connection:
                self._fence(connection, epoch)
                yield connection

    def _fence(self, connection: sa.Connection, epoch: int) -> None:
        cluster = self.tables["cluster"]
        mine = sa.update(cluster).where(cluster.c.epoch == epoch)
        next_one = mine.values(revision=cluster.c.revision + 1)
        if connection.execute(next_one).rowcount != 1:
            self.check(connection, epoch)

    def check(self, connection: sa.Connection, epoch: int) -> None:
        """See that there is no newer czar than the one of an epoch.

        Raises
        ------
        CzarReplaced
            If there is.
        """
        newest = connection.execute(sa.select(self.tables["cluster"].c.epoch)).scalar()
        if newest != epoch:
            raise CzarReplaced(
                f"this czar has epoch {epoch}, but the metadata in {self._backend} "
                f"belongs to a newer czar with epoch {newest}; stop this one"
            )

    @contextmanager
    def _transaction(self, **options: object) -> Iterator[sa.Connection]:
        with self._backend.engine.connect() as plain:
            connection = plain.execution_options(**options)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections and give the metadata up."""
        self._backend.close()


@contextmanager
def told(backend: Backend) -> Iterator[None]:
    """Turn what a database says when it does not do its work into an error of ours.

    Raises
    ------
    MetadataDamaged
        If what it holds cannot be read.
    MetadataUnavailable
        If it does not answer, is full or cannot be reached.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        broken = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        # SQLite says the plainest error of all of a file that is malformed.
        damaged = type(error) in {sa.exc.DatabaseError, sa.exc.InternalError}
        if not broken and not damaged and not error.connection_invalidated:
            raise
        why = f"the metadata in {backend}: {' '.join(str(error.orig).split())}"
        if damaged:
            raise MetadataDamaged(f"{why}; {REMEDY}") from error
        raise MetadataUnavailable(why) from error
    except sa.exc.TimeoutError as error:
        raise MetadataUnavailable(f"the metadata in {backend}: {error}") from error


def migrate(connection: sa.Connection, scripts: Scripts, where: str) -> None:
    """Bring the metadata to the newest format, or make it.

    Parameters
    ----------
    connection
        Inside a transaction.
    scripts
        The migrations, oldest first; those that were applied are left out.
    where
        Names the database in messages.

    Raises
    ------
    InvalidRequest
        If a newer qserv wrote the metadata.
    """
    have = formats(connection)
    if have and max(have) > scripts[-1][0]:
        raise InvalidRequest(
            f"{where} holds metadata of format {max(have)}, but this qserv knows "
            f"{scripts[-1][0]} at most; use the newer qserv"
        )
    for number, script in scripts:
        if number not in have:
            apply(connection, number, script)
    if not have:
        _found(connection)


def formats(connection: sa.Connection) -> frozenset[int]:
    """Return the numbers of the migrations that were applied; none if it is empty."""
    if not sa.inspect(connection).has_table("format"):
        return frozenset()
    return frozenset(
        connection.execute(sa.text("SELECT version FROM format")).scalars()
    )


def reflected(engine: sa.Engine | sa.Connection) -> dict[str, sa.Table]:
    """Return the tables of a database by name, each after those that it refers to."""
    metadata = sa.MetaData()
    metadata.reflect(engine)
    return {table.name: table for table in metadata.sorted_tables}


def apply(connection: sa.Connection, number: int, script: str) -> None:
    """Run one migration, and write down that it was."""
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
    connection.execute(
        sa.text("INSERT INTO format (version, applied) VALUES (:version, :applied)"),
        {"version": number, "applied": now()},
    )
    failpoint.reached("metadata.migrate.applied")


def _found(connection: sa.Connection) -> None:
    connection.execute(
        sa.text("INSERT INTO cluster (id, epoch, allocated) VALUES (:id, 0, 0)"),
        {"id": secrets.token_hex(8)},
    )
    connection.execute(
        sa.text("INSERT INTO snapshot (id, created) VALUES (0, :created)"),
        {"created": now()},
    )
