"""The plan of a query: one immutable value, made by `qserv.plan.planner.plan`.

A plan is a short list of stages, run in order. A `Fragment` is SQL that workers run
chunk by chunk (or bucket by bucket, where rows were exchanged by hash); a `Residual` is
SQL that the czar runs on what came back; `SystemRows` are what the czar knows itself.
SQL reads the rows of earlier stages by the name `stage_name`. The rows of the last
stage are the answer. SQL for workers is a template: each scan source is written as a
marker that the worker replaces by the files of its batch.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.system import RELEASE
from qserv.catalog.tables import Column
from qserv.sky.ranges import RangeSet

MARK: Final = "\x00"
"""Brackets a scan source's number in template SQL; refused in any user's text."""


def stage_name(number: int) -> str:
    """Return the name under which SQL reads the rows of an earlier stage."""
    return f"stage_{number}"


Bound = str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""What a parameter of SQL stands for: a text, or the list of a long IN."""


class Extent(StrEnum):
    """Which rows of a chunk a scan source reads."""

    OWN = "own"
    OWN_AND_OVERLAP = "own+overlap"
    HALO = "halo"
    """Own rows of all chunks within reach of the batch's chunks, each row once."""
    COPY = "copy"
    """A replicated table, whole."""


class ScanClass(StrEnum):
    """How a worker schedules a task."""

    INTERACTIVE = "interactive"
    SCAN = "scan"


@dataclass(frozen=True, slots=True)
class ScanSource:
    """One relation of a fragment: the seam between planner, storage and engine.

    Parameters
    ----------
    release, table
        The catalog's spelling.
    manifest_version
        The version of the table's list of files.
    extent
        Which rows of each chunk.
    columns
        The stored columns that the fragment reads, system columns included.
    reach
        Of a halo, in degrees: every row whose home lies within it of any point of the
        batch's chunks is read; more rows do no harm, a row twice does.
    """

    release: str
    table: str
    manifest_version: int
    extent: Extent
    columns: tuple[Column, ...]
    reach: float = 0.0


@dataclass(frozen=True, slots=True)
class AreaRestrictor:
    """Only chunks that this area may touch can hold an answer.

    Parameters
    ----------
    ranges
        HEALPix order-29 ranges of the area's cover, not yet dilated by δ.
    reach
        How far in degrees the restricted rows may lie outside their chunk; the ranges
        are dilated by it before they meet the chunks.
    """

    ranges: RangeSet
    reach: float


@dataclass(frozen=True, slots=True)
class KeyRestrictor:
    """Only the homes of these director keys can hold an answer.

    Parameters
    ----------
    release, table
        The director table, whose index turns keys into homes.
    keys
        The keys, without NULL and duplicates; empty when nothing can match.
    reach
        How far in degrees a home may lie outside the chunk that needs its rows.
    """

    release: str
    table: str
    keys: tuple[int | str, ...]
    reach: float = 0.0


@dataclass(frozen=True, slots=True)
class KeyRangeRestrictor:
    """Only the homes of the director keys from `low` to `high` can hold an answer.

    Parameters
    ----------
    release, table
        The director table, whose index turns keys into homes.
    low, high
        The least and the greatest key, both included.
    reach
        As of a `KeyRestrictor`.
    """

    release: str
    table: str
    low: int
    high: int
    reach: float = 0.0


@dataclass(frozen=True, slots=True)
class FoundRestrictor:
    """Only the homes of the director keys that an earlier stage found.

    Parameters
    ----------
    release, table
        The director table, whose index turns keys into homes.
    stage, column
        The stage, and its column that holds the keys; NULLs have no home.
    reach
        As of a `KeyRestrictor`.
    """

    release: str
    table: str
    stage: int
    column: str
    reach: float = 0.0


@dataclass(frozen=True, slots=True)
class EitherRestrictor:
    """At least one of the alternatives holds; each is a list that holds as a whole."""

    alternatives: tuple[tuple["Restrictor", ...], ...]


KeyedRestrictor = KeyRestrictor | KeyRangeRestrictor | FoundRestrictor
Restrictor = AreaRestrictor | KeyedRestrictor | EitherRestrictor


def keyed(restrictors: tuple[Restrictor, ...]) -> tuple[KeyedRestrictor, ...]:
    """Return the restrictors that the director indexes must resolve, at any depth."""
    found: list[KeyedRestrictor] = []
    for restrictor in restrictors:
        if isinstance(restrictor, EitherRestrictor):
            for alternative in restrictor.alternatives:
                found += keyed(alternative)
        elif not isinstance(restrictor, AreaRestrictor):
            found.append(restrictor)
    return tuple(dict.fromkeys(found))


class Sharing(StrEnum):
    """How workers get the rows of an earlier stage."""

    BROADCAST = "broadcast"
    """All rows, beside each batch; they are in the czar and travel with the task."""
    BUCKET = "bucket"
    """The rows of one bucket, pulled from the workers that spooled them."""


@dataclass(frozen=True, slots=True)
class Input:
    """An earlier stage whose rows a fragment reads."""

    stage: int
    sharing: Sharing


@dataclass(frozen=True, slots=True)
class Spool:
    """Keep a fragment's rows on the workers, in buckets by hash, for a later stage.

    Parameters
    ----------
    keys
        Names of the columns that are hashed; rows with equal keys share a bucket, and
        NULL is equal to NULL.
    buckets
        How many.
    steady
        Whether rows that are made again have the same keys, to the last bit.
    """

    keys: tuple[str, ...]
    buckets: int
    steady: bool = True


@dataclass(frozen=True, slots=True)
class Fragment:
    """SQL that workers run on batches of chunks, or of buckets.

    Parameters
    ----------
    sql
        DuckDB SQL; source number i is written ``MARK i MARK``, the rows of stage k
        `stage_name` (k) and parameter number j (from 1) ``$j``.
    parameters
        The string literals of the query: bound, never part of the text.
    sources
        What the markers stand for.
    columns
        Names and types of the rows that come back, in order.
    family, tree_version
        The chunk tree that it runs over; None where it runs once or over buckets.
    inputs
        The earlier stages that it reads.
    restrictors
        All of them hold; none means every chunk.
    needed
        Groups of sources: a chunk in which no source of a group has own rows has no
        part in the answer.
    limit
        Rows after which the remaining work may stop; None when all must run.
    buckets
        How many buckets its `Sharing.BUCKET` inputs have; 0 for none of them.
    spool
        Where its rows go; None: to the czar.
    expected
        How many rows are expected, roughly; it never changes an answer.
    joined
        How many rows its largest join makes, roughly, before they are grouped or cut.
    why
        What kind of stage it is, and why, for EXPLAIN.
    """

    sql: str
    parameters: tuple[str, ...]
    sources: tuple[ScanSource, ...]
    columns: tuple[Column, ...]
    family: str | None = None
    tree_version: int | None = None
    inputs: tuple[Input, ...] = ()
    restrictors: tuple[Restrictor, ...] = ()
    needed: tuple[tuple[int, ...], ...] = ()
    limit: int | None = None
    buckets: int = 0
    spool: Spool | None = None
    expected: float = 0.0
    joined: float = 0.0
    why: tuple[str, ...] = ()

    @property
    def once(self) -> bool:
        """Whether only replicated tables are read, so that one worker answers alone."""
        return self.family is None and not self.buckets


@dataclass(frozen=True, slots=True)
class Residual:
    """SQL that the czar runs on the rows of earlier stages.

    Parameters
    ----------
    sql, parameters
        As of a fragment; there are no scan sources.
    columns
        Names and types of its rows, in order.
    inputs
        Numbers of the stages that it reads.
    expected
        How many rows are expected, roughly; it never changes an answer.
    joined
        How many rows its largest join makes, roughly, before they are grouped or cut.
    why
        What it does, for EXPLAIN.
    """

    sql: str
    parameters: tuple[Bound, ...]
    columns: tuple[Column, ...]
    inputs: tuple[int, ...] = ()
    expected: float = 0.0
    joined: float = 0.0
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SystemRows:
    """Rows of a table that qserv fills itself: the czar reads them from its metadata.

    Parameters
    ----------
    table
        Its name, which stands in `qserv.catalog.system.TABLES`.
    columns
        Those of its columns that are read.
    expected
        How many rows are expected, roughly; it never changes an answer.
    """

    table: str
    columns: tuple[Column, ...]
    expected: float

    @property
    def full(self) -> str:
        """The table's name after that of its release."""
        return f"{RELEASE}.{self.table}"


Stage = Fragment | Residual | SystemRows


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query is answered, exactly, at one snapshot.

    Parameters
    ----------
    query
        The text that the user sent.
    snapshot
        Snapshot id that everything in the plan was resolved against.
    release
        The release that the query reads, for the result's provenance.
    stages
        In the order in which they run; the rows of the last are the answer.
    columns
        The result's columns in order, with unit, UCD and description.
    scan_class
        How workers schedule it.
    notes
        One line a pass that did something, in order: what EXPLAIN says and why.
    """

    query: str
    snapshot: int
    release: str
    stages: tuple[Stage, ...]
    columns: tuple[Column, ...]
    scan_class: ScanClass
    notes: tuple[str, ...] = ()

    @property
    def limit(self) -> int | None:
        """Rows after which the answer is whole, where the last stage streams."""
        last = self.stages[-1]
        return last.limit if isinstance(last, Fragment) else None


@dataclass(frozen=True, slots=True)
class Route:
    """The chunks that a fragment runs on, after its keys were resolved.

    Parameters
    ----------
    chunks
        Chunk ids sorted by sky range, int64; ``[EVERYWHERE]`` for a fragment that
        runs once; bucket numbers for one over buckets.
    of
        How many chunks the family's tree has.
    rows, size
        Own rows and bytes that the sources have in those chunks (an estimate of work).
    work
        Bytes to read in each of `chunks`, aligned with it, int64.
    """

    chunks: npt.NDArray[np.int64]
    of: int
    rows: int
    size: int
    work: npt.NDArray[np.int64]

    @property
    def once(self) -> bool:
        """Whether the fragment reads replicated tables alone."""
        return bool(self.chunks.size == 1 and self.chunks[0] == EVERYWHERE)
