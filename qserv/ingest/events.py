"""What happens to a load, and what its czar has to do about it: values, no rules.

`qserv.ingest.transaction` says which of them fit when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from qserv.catalog.snapshot import ManifestEntry


class State(StrEnum):
    """Where a load is in its life."""

    BEGUN = "begun"
    PLACED = "placed"
    CONTRIBUTING = "contributing"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that workers hold in their staging area.

    Parameters
    ----------
    table
        The catalog's spelling.
    entry
        What the file is.
    workers
        Ids of the workers that read it back with the right checksum.
    """

    table: str
    entry: ManifestEntry
    workers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """The czar decided which workers hold what; again, where some took no files.

    Parameters
    ----------
    chunks
        Chunk -> worker ids, for every leaf of the tree.
    replicated
        Worker ids for the replicated tables.
    shards
        New index shard -> worker ids.
    copies
        How many of its workers must hold a file before it counts.
    """

    chunks: Mapping[int, tuple[str, ...]]
    replicated: tuple[str, ...]
    shards: Mapping[int, tuple[str, ...]]
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Resume:
    """Another loader goes on in the place of one that fell silent."""


@dataclass(frozen=True, slots=True)
class Contribute:
    """The loader says which files are staged where."""

    files: tuple[StagedFile, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """The loader is done; `rows` are the new rows it expects by table."""

    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Installed:
    """A worker made its share of the transaction durable."""

    worker: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A worker could not: what it holds does not count now; it catches up later."""

    worker: str


@dataclass(frozen=True, slots=True)
class Published:
    """The metadata names the new manifests: the load is visible."""

    snapshot: int


@dataclass(frozen=True, slots=True)
class Abort:
    """The loader gives up, or fell silent and is in the way."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The czar could not install or publish, and will never be able to."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reopen:
    """The czar could not install or publish: not now, or not before more came."""

    reason: str


Event = (
    Place
    | Resume
    | Contribute
    | Commit
    | Installed
    | Skipped
    | Published
    | Reopen
    | Abort
    | Failed
)


@dataclass(frozen=True, slots=True)
class Install:
    """Have `worker` move these files, by table, from staging to their places."""

    worker: str
    files: Mapping[str, tuple[ManifestEntry, ...]]


@dataclass(frozen=True, slots=True)
class Publish:
    """Make all files visible by one metadata transaction."""

    files: tuple[StagedFile, ...]


@dataclass(frozen=True, slots=True)
class Discard:
    """Have `worker` forget what it staged or installed for the transaction."""

    worker: str


Action = Install | Publish | Discard
