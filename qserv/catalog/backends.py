"""The two databases that keep metadata: a SQLite file, or PostgreSQL.

Which one it is stands in a word or URL (``--metadata``); where nothing is said, the
czar's directory remembers it, so that a czar never starts on metadata that was left.
"""

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import sqlalchemy as sa
from typing_extensions import override

from qserv import patience
from qserv.errors import Conflict, InvalidRequest

FILE: Final = "metadata.sqlite"
SQLITE: Final = "sqlite"
"""What ``--metadata`` says for the file in the czar's directory."""
WRITES: Final[dict[str, object]] = {"qserv_writes": True}

_LOCK: Final = "lock"
_PLACE: Final = "metadata.place"
_KEY: Final = 0x71736572
"""Of the advisory lock: "qser"."""


class Backend(Protocol):
    """A database, and how a czar owns it; ``str`` names it in messages."""

    engine: sa.Engine
    reads: dict[str, Any]
    """Execution options of a connection that only reads."""

    def own(self) -> None:
        """Be its only czar.

        Raises
        ------
        Conflict
            If another one is.
        """

    def keep(self) -> None:
        """Own it again if a lost connection gave it up, and nobody else owns it."""

    def close(self) -> None:
        """Close all connections and give it up."""


def backend(directory: Path, place: str = "") -> Backend:
    """Return the database of a czar.

    Parameters
    ----------
    directory
        The czar's; made when it is not there.
    place
        ``"sqlite"``, a URL of PostgreSQL, or empty: where it was the last time, else
        SQLite.

    Raises
    ------
    InvalidRequest
        If it is something else.
    """
    place = place or remembered(directory)
    if place == SQLITE:
        return Sqlite(directory)
    return Postgresql(place)


def remembered(directory: Path) -> str:
    """Return where a czar's metadata was the last time."""
    with suppress(FileNotFoundError):
        return (directory / _PLACE).read_text(encoding="utf-8").strip()
    return SQLITE


def remember(directory: Path, found: Backend) -> None:
    """Have a czar's directory say where its metadata is; passwords are left out."""
    directory.mkdir(parents=True, exist_ok=True)
    # No half of it is ever read: it is written beside and renamed.
    fresh = directory / f".{_PLACE}.new"
    fresh.write_text(f"{getattr(found, 'place', SQLITE)}\n", encoding="utf-8")
    fresh.replace(directory / _PLACE)


class Sqlite(Backend):
    """One file, owned through a lock on its directory.

    Parameters
    ----------
    directory
        Made when it is not there.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._lock: TextIO | None = None
        self.reads = {}
        self.engine = sa.create_engine(f"sqlite:///{directory / FILE}")
        sa.event.listen(self.engine, "connect", _on_connect)
        sa.event.listen(self.engine, "begin", _on_begin)

    @override
    def __str__(self) -> str:
        return str(self._directory)

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return (self._directory / FILE).exists()

    def remove(self) -> None:
        """Remove the file, once it is owned."""
        self.engine.dispose()
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (self._directory / name).unlink(missing_ok=True)

    @override
    def own(self) -> None:
        self._lock = _locked(self._directory)

    @override
    def keep(self) -> None:
        # A file's lock lives as long as the process.
        pass

    @override
    def close(self) -> None:
        self.engine.dispose()
        if self._lock is not None:
            self._lock.close()


def _locked(directory: Path) -> TextIO:
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
    writes = connection.get_execution_options().get("qserv_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Postgresql(Backend):
    """A database of a PostgreSQL server, owned through an advisory lock.

    Parameters
    ----------
    place
        ``postgresql://user@host/database``; what it leaves out comes from libpq's
        environment and files (``PGPASSWORD``, ``~/.pgpass``).

    Raises
    ------
    InvalidRequest
        If it is no such URL.
    """

    def __init__(self, place: str) -> None:
        url = _url(place)
        self.place = url.set(drivername="postgresql", password=None).render_as_string()
        self.reads = {
            "isolation_level": "REPEATABLE READ",
            "postgresql_readonly": True,
        }
        self.engine = sa.create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"application_name": "qserv", "connect_timeout": 10},
        )
        self._owner: sa.Connection | None = None

    @override
    def __str__(self) -> str:
        return self.place

    @override
    def own(self) -> None:
        if not patience.for_owner()(self._owned):
            with self.engine.connect() as connection:
                holder = _holder(connection)
            raise Conflict(
                f"another czar is running on {self}{holder}; stop it, or give "
                "this one a database of its own with --metadata"
            )

    @override
    def keep(self) -> None:
        if self._owner is None or not _answers(self._owner):
            self._give_up()
            self._owned()

    def _owned(self) -> bool:
        # Of its own, outside the pool: the lock lives as long as this connection.
        owner = self.engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        owner.detach()
        take = sa.text("SELECT pg_try_advisory_lock(:key, hashtext(current_schema()))")
        try:
            if owner.execute(take, {"key": _KEY}).scalar_one():
                self._owner = owner
        finally:
            if self._owner is not owner:
                owner.close()
        return self._owner is owner

    def _give_up(self) -> None:
        if self._owner is not None:
            with suppress(sa.exc.DBAPIError):
                self._owner.close()
            self._owner = None

    @override
    def close(self) -> None:
        self._give_up()
        self.engine.dispose()


def _url(place: str) -> sa.URL:
    try:
        url = sa.make_url(place)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidRequest(
            f"metadata is kept in {SQLITE!r} or postgresql://USER@HOST/DATABASE, "
            f"not in {place!r}"
        )
    if not url.database:
        raise InvalidRequest(f"{url!r} names no database: postgresql://USER@HOST/NAME")
    return url.set(drivername="postgresql+psycopg")


def _answers(owner: sa.Connection) -> bool:
    try:
        owner.execute(sa.text("SELECT 1"))
    except sa.exc.DBAPIError:
        return False
    return True


def _holder(connection: sa.Connection) -> str:
    found = connection.execute(
        sa.text(
            "SELECT a.client_addr, a.backend_start, a.pid FROM pg_locks l"
            " JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted"
            " AND l.classid = CAST(:key AS oid) AND l.database = ("
            "SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
        {"key": _KEY},
    ).first()
    if found is None:
        return ""
    where = found.client_addr or "this machine"
    since = f"{found.backend_start:%Y-%m-%d %H:%M:%S}"
    return f", from {where} since {since} (server process {found.pid})"
