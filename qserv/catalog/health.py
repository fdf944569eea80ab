"""What is known of a cluster when it is checked, and what a check says.

The facts are gathered from a czar that runs, or from the directories of a cluster that
does not; `qserv.catalog.checks` makes findings of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

DAY: Final = 86400.0


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its outcome.

    Parameters
    ----------
    check
        What was looked at.
    level
        How bad it is.
    text
        What was found.
    remedy
        A command, or what to do; empty where all is well.
    scrub
        The worker whose scrub would mend it; empty where none would.
    """

    check: str
    level: Level
    text: str
    remedy: str = ""
    scrub: str = ""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What is known of a worker.

    Parameters
    ----------
    id
        Its id.
    alive
        Whether it answers; of a stopped cluster, whether its directory is there.
    trouble
        Why it could not be asked; nothing below is known then.
    version
        Of its qserv.
    skew
        Seconds that its clock is before the czar's.
    disk_free, disk_total
        Bytes that its disk may still take (without those that `disk_reserve` keeps
        free), and all of it.
    damaged
        Some files that it lacks, with the reason; `damaged_total` in all.
    bad
        What is wrong with its manifests and directories.
    unknown
        Some files that no manifest names; `unknown_total` in all.
    files, size
        That its manifests name, and their bytes.
    never_verified
        Of these files.
    oldest
        Seconds since the oldest verification of the others.
    verify_age, scrub_rate
        Its settings.
    lists
        (release, table) -> the version of its newest manifest, and what tells its
        content.
    """

    id: str
    alive: bool
    trouble: str = ""
    version: str = ""
    skew: float = 0.0
    disk_free: int = 0
    disk_total: int = 0
    damaged: tuple[tuple[str, str], ...] = ()
    damaged_total: int = 0
    bad: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    unknown_total: int = 0
    files: int = 0
    size: int = 0
    never_verified: int = 0
    oldest: float = 0.0
    verify_age: float = 7 * DAY
    scrub_rate: int = 1
    lists: Mapping[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the metadata says of a table.

    Parameters
    ----------
    release, table
        Its name.
    version
        Of its list of files.
    rows, counted
        Live rows as noted with the version, and as its files have them.
    indexed
        Rows of its index; None for a table that has none.
    overlap
        Whether its director's rows around chunks are stored; None where none belong.
    copies
        Number of good copies -> how many files have so many.
    wanted
        Copies that every file shall have.
    lost
        Some files without a good copy.
    lists
        Worker -> what tells the content of the manifest that it shall have.
    """

    release: str
    table: str
    version: int
    rows: int
    counted: int
    indexed: int | None = None
    overlap: bool | None = None
    copies: Mapping[int, int] = field(default_factory=dict)
    wanted: int = 1
    lost: tuple[str, ...] = ()
    lists: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in SQL."""
        return f"{self.release}.{self.table}"


BEHIND: Final = (
    "stop the czar, then find the rest with `qserv metadata rebuild --force`, or do "
    "without it with `qserv metadata accept`"
)
"""What is to be done where workers remember newer metadata."""


@dataclass(frozen=True, slots=True)
class LoadFacts:
    """A load that is neither committed nor aborted, `silent` for so many seconds."""

    id: str
    release: str
    silent: float
    lease: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a cluster.

    Parameters
    ----------
    running
        Whether it runs; else its directories were read.
    version
        Of the czar's qserv.
    metadata
        What its database says is wrong with itself.
    place
        Where the metadata is, for people.
    behind
        Who remembers newer metadata; empty where nobody does.
    workers, tables, loads
        The parts.
    discards
        Worker -> how many aborted loads it has yet to forget.
    """

    running: bool
    version: str
    metadata: tuple[str, ...] = ()
    place: str = ""
    behind: str = ""
    workers: tuple[WorkerFacts, ...] = ()
    tables: tuple[TableFacts, ...] = ()
    loads: tuple[LoadFacts, ...] = ()
    discards: Mapping[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> tuple[WorkerFacts, ...]:
        """The workers of which everything is known."""
        return tuple(w for w in self.workers if w.alive and not w.trouble)
