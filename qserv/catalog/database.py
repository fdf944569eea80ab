"""The metadata's database: locked, migrated, every statement durable.

The schema stands in ``sql/metadata`` alone; the tables here are reflected from it.
"""

import fcntl
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import sqlalchemy as sa

from qserv import sqltext
from qserv.errors import Conflict, InvalidRequest

FILE: Final = "metadata.sqlite"
_LOCK: Final = "lock"


def now() -> str:
    """Return the present time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Database:
    """One SQLite file under an exclusive lock on its directory.

    Parameters
    ----------
    directory
        The czar's directory; made when it is not there.
    migrations
        Returns the numbered migration scripts, oldest first.

    Raises
    ------
    Conflict
        If another czar holds the directory.
    InvalidRequest
        If a newer qserv wrote the metadata.
    """

    def __init__(
        self,
        directory: Path,
        *,
        migrations: Callable[[], list[tuple[int, str]]] = sqltext.migrations,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory)
        self.engine = sa.create_engine(f"sqlite:///{directory / FILE}")
        sa.event.listen(self.engine, "connect", _on_connect)
        sa.event.listen(self.engine, "begin", _on_begin)
        try:
            self._migrate(directory, migrations())
            self.tables = _reflect(self.engine)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open one transaction: committed at the end of the block, or not at all."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections and give the directory up."""
        self.engine.dispose()
        self._lock.close()

    def _migrate(self, directory: Path, scripts: list[tuple[int, str]]) -> None:
        with self.begin() as connection:
            have = _version(connection)
            if have > scripts[-1][0]:
                raise InvalidRequest(
                    f"{directory} holds metadata of format {have}, but this qserv "
                    f"knows {scripts[-1][0]} at most; use the newer qserv"
                )
            for number, script in scripts:
                if number > have:
                    _apply(connection, number, script)
            if have == 0:
                _found(connection)


def _lock(directory: Path) -> TextIO:
    file = (directory / _LOCK).open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Conflict(
            f"another czar is running on {directory}; stop it, or give this one "
            "a directory of its own with --dir"
        ) from None
    return file


def _on_connect(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN would leave DDL outside the transaction.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _version(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table("format"):
        return 0
    found = connection.execute(sa.text("SELECT MAX(version) FROM format"))
    return int(found.scalar_one())


def _apply(connection: sa.Connection, number: int, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
    connection.execute(
        sa.text("INSERT INTO format (version, applied) VALUES (:version, :applied)"),
        {"version": number, "applied": now()},
    )


def _found(connection: sa.Connection) -> None:
    connection.execute(
        sa.text("INSERT INTO cluster (id, epoch, allocated) VALUES (:id, 0, 0)"),
        {"id": secrets.token_hex(8)},
    )
    connection.execute(
        sa.text("INSERT INTO snapshot (id, created) VALUES (0, :created)"),
        {"created": now()},
    )


def _reflect(engine: sa.Engine) -> dict[str, sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(engine)
    return {table.name: table for table in metadata.tables.values()}
