"""An immutable view of everything that is live: what a plan is made against.

One cluster-wide, monotone snapshot id resolves to a manifest version per table and a
tree version per family. A query keeps the `Snapshot` it started with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.catalog.bounds import Bounds
from qserv.catalog.tables import Table
from qserv.catalog.views import View
from qserv.errors import UnknownName
from qserv.sky.chunking import ChunkTree

EVERYWHERE: Final = 0
"""The chunk number of a replicated table's files (real chunk ids start at 4)."""


class ReleaseState(StrEnum):
    """The life of a release."""

    LOADING = "loading"
    PUBLISHED = "published"
    ARCHIVED = "archived"


class Role(StrEnum):
    """What a file of a table is for."""

    BASE = "base"
    DELTA = "delta"
    OVERLAP = "overlap"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One immutable file of one table, as the metadata and its workers know it.

    Parameters
    ----------
    role
        What the file is for.
    chunk
        The chunk whose rows or overlap it holds; `EVERYWHERE` for a replicated table;
        the shard number for an index file.
    path
        Below the worker's data directory; names table and content, never a machine.
    rows, live_rows
        Rows in the file; of those, rows that no later file supersedes.
    size
        Bytes.
    sha256
        Of the whole file, lower-case hexadecimal.
    bounds
        Column name -> (minimum, maximum), written by us, never read from a footer.
        An index file has the bounds of its key.
    offset
        δ in degrees: how far a row's own position lies from its home, and so outside
        its home chunk, at most; None where it was not measured.
    validity
        Manifest versions [from, to) in which the file is live; ``to`` None while it is.
    """

    role: Role
    chunk: int
    path: str
    rows: int
    live_rows: int
    size: int
    sha256: str
    bounds: Mapping[str, tuple[int | float | str, int | float | str]] = field(
        default_factory=dict
    )
    offset: float | None = None
    validity: tuple[int, int | None] = (1, None)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkStatistics:
    """Per chunk that has own rows of a table, aligned arrays sorted by sky.

    Parameters
    ----------
    chunks
        Chunk ids, int64.
    rows, size
        Live own rows; bytes of own and overlap files.
    """

    chunks: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexShard:
    """One shard of a director index: a key range and the workers that hold it."""

    shard: int
    low: int | str
    high: int | str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableVersion:
    """A table as it is live in a snapshot.

    Parameters
    ----------
    release
        Name of its release.
    table
        What it is.
    manifest_version
        Version of its list of files.
    rows
        Live rows in all.
    statistics
        Per chunk; one row with chunk `EVERYWHERE` for a replicated table.
    offset
        δ of the whole table in degrees; None where unknown.
    index
        Shards of the director index; empty for other tables.
    bounds
        Least and greatest of columns, over all live rows.
    overlap
        Degrees from any point of a chunk to which its overlap is complete; of a
        ref-match table how far apart the two of a pair may be; 0 where it has none.
    """

    release: str
    table: Table
    manifest_version: int
    rows: int
    statistics: ChunkStatistics
    offset: float | None = 0.0
    index: tuple[IndexShard, ...] = ()
    bounds: Bounds = field(default_factory=dict, hash=False)
    overlap: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """Releases that share one chunk tree, so that their tables join chunk by chunk.

    Parameters
    ----------
    name
        By default the name of its first release.
    overlap
        Overlap radius of new tables, degrees; what a table has, its version says.
    leaf_rows, leaf_bytes
        Limits that split a leaf when the tree is made.
    tree_version
        Version of the tree.
    tree
        The leaves.
    replicas
        Chunk -> ids of the workers that hold it, preferred first; `EVERYWHERE` -> the
        workers that hold the replicated tables. While copies are made or dropped there
        are fewer or more than are wanted.
    copies
        How many workers shall hold each chunk.
    cut
        Whether it has, or in an older snapshot had, tables that the tree cuts: from
        then on it is the tree.
    """

    name: str
    overlap: float
    leaf_rows: int
    leaf_bytes: int
    tree_version: int
    tree: ChunkTree
    replicas: Mapping[int, tuple[str, ...]]
    copies: int = 1
    cut: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """A named, versioned set of tables = a schema in SQL."""

    name: str
    state: ReleaseState
    family: str
    tables: Mapping[str, TableVersion]
    """By lower-case table name."""
    views: Mapping[str, View] = field(default_factory=dict)
    """By lower-case name; no table has that name."""

    @property
    def named(self) -> str:
        """The names of its tables and views, for messages."""
        tables = [version.table.name for version in self.tables.values()]
        return ", ".join(sorted(tables + [view.name for view in self.views.values()]))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is live: releases (by lower-case name) and families (by name)."""

    id: int
    releases: Mapping[str, Release]
    families: Mapping[str, Family]

    def release(self, name: str) -> Release:
        """Return the release of that name in any case.

        Raises
        ------
        UnknownName
            If there is none; lists those that are.
        """
        if (release := self.releases.get(name.lower())) is None:
            known = ", ".join(sorted(r.name for r in self.releases.values()))
            raise UnknownName(
                f"there is no release {name}; loaded are: {known or 'none'}"
            )
        return release

    def table(self, release: str, table: str) -> TableVersion:
        """Return a table of a release, both named in any case.

        Raises
        ------
        UnknownName
            If there is none; lists those that are.
        """
        found = self.release(release)
        if (version := found.tables.get(table.lower())) is None:
            raise UnknownName(
                f"release {found.name} has no table {table}; it has: {found.named}"
            )
        return version

    def view(self, release: str, name: str) -> View | None:
        """Return a view of a release, both named in any case; None if it is none.

        Raises
        ------
        UnknownName
            If there is no such release; lists those that are.
        """
        return self.release(release).views.get(name.lower())

    def family(self, release: str) -> Family:
        """Return the family of a release."""
        return self.families[self.release(release).family]
