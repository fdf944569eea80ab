"""The tables that qserv fills itself: where rows come from, in release `RELEASE`.

They have no files and lie on no worker: the czar reads their rows from its metadata
(`qserv.catalog.systemrows`) when a query names them. No other release has their name.
"""

from collections.abc import Mapping
from typing import Final

from qserv.catalog.tables import SOURCE, Column, DataType, Table, TableKind
from qserv.errors import InvalidRequest, UnknownName

RELEASE: Final = "qserv"

SEPARATOR: Final = "\n"
"""Stands between the names of a list that is one text."""


def _text(name: str, description: str, ucd: str = "meta.note") -> Column:
    return Column(name, DataType.VARCHAR, "", ucd, description, nullable=False)


def _whole(
    name: str, description: str, ucd: str = "meta.number", *, nullable: bool = False
) -> Column:
    return Column(name, DataType.BIGINT, "", ucd, description, nullable)


def _time(name: str, description: str, ucd: str, *, nullable: bool = False) -> Column:
    return Column(name, DataType.TIMESTAMP, "", ucd, description, nullable)


_SNAPSHOT: Final = _whole(
    "snapshot",
    "The snapshot that made the load visible; NULL where none did",
    "meta.version",
    nullable=True,
)
_LOAD: Final = _text("load_id", "The load", "meta.id")
_RELEASE: Final = _text("release", "The release that was loaded into", "meta.dataset")

LOADS: Final = Table(
    "loads",
    TableKind.SYSTEM,
    (
        _text("load_id", "The load", "meta.id;meta.main"),
        _RELEASE,
        _text("family", "The release's family"),
        _text(
            "state",
            "committed or aborted; under way: begun, placed, contributing, committing",
            "meta.code.status",
        ),
        _text("who", "Who loaded", "meta.id.PI"),
        _text(
            "pipeline",
            "Name and version of what made the files",
            "meta.software;meta.version",
        ),
        _text(
            "configuration", "Hash of that pipeline's configuration", "meta.checksum"
        ),
        _text("input_ids", "What that pipeline read: one id a line", "meta.id.parent"),
        _text("tables", "The tables that it may load: one name a line", "meta.table"),
        _text("replaced", "Those of them of which all or some went: one name a line"),
        _time("begun", "When it began, UTC", "time.start"),
        _time("ended", "When it ended, UTC; NULL before", "time.end", nullable=True),
        _text("reason", "Why it was aborted, or what keeps it from its end"),
        _SNAPSHOT,
        _whole("rows_read", "Rows that it read and kept; 0 before its end"),
        _whole("rows_rejected", "Rows that it left out; 0 before its end"),
    ),
    description="Loads, those under way too: who loaded what, and how it ended.",
)

CONTRIBUTIONS: Final = Table(
    "contributions",
    TableKind.SYSTEM,
    (
        _whole(
            "number",
            f"Of the input file in the cluster: what {SOURCE} says in its rows",
            "meta.id;meta.main",
        ),
        _LOAD,
        _RELEASE,
        _text("table_name", "The table that its rows went to", "meta.table"),
        _text("source", "The file as its loader named it", "meta.id;meta.file"),
        _text("sha256", "Of the whole file, hexadecimal", "meta.checksum"),
        _whole("rows_read", "Rows that were read from it and kept"),
        _whole("rows_rejected", "Rows of it that were left out"),
        _whole("nulled", "NaNs in it that became NULL"),
        _whole("wrapped", "Right ascensions in it that were brought into [0, 360)"),
        _whole("snapshot", _SNAPSHOT.description.split(";")[0], "meta.version"),
        _whole(
            "gone",
            "The first snapshot without its rows; NULL while there is none",
            "meta.version",
            nullable=True,
        ),
        Column(
            "live",
            DataType.BOOLEAN,
            ucd="meta.code.status",
            description="Whether the snapshot that the query reads has its rows",
            nullable=False,
        ),
    ),
    description="The input files of committed loads: where rows come from.",
)

TABLES: Final[Mapping[str, Table]] = {t.name: t for t in (LOADS, CONTRIBUTIONS)}
"""By lower-case name."""


def is_system(release: str) -> bool:
    """Whether a release, named in any case, is qserv's own."""
    return release.lower() == RELEASE


def table(name: str) -> Table:
    """Return the system table of that name in any case.

    Raises
    ------
    UnknownName
        If there is none; lists those that are.
    """
    if (found := TABLES.get(name.lower())) is None:
        raise UnknownName(
            f"release {RELEASE}, which qserv fills itself, has no table {name}; "
            f"it has: {', '.join(TABLES)}"
        )
    return found


def check_release(name: str) -> None:
    """Check that a release may be changed by its users.

    Raises
    ------
    InvalidRequest
        If it is qserv's own.
    """
    if is_system(name):
        raise InvalidRequest(
            f"release {RELEASE} holds the tables that qserv fills itself "
            f"({', '.join(TABLES)}): nothing is loaded, made or dropped there; give "
            "another release"
        )
