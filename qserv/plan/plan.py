"""The plan of a query: one immutable value, made by `qserv.plan.planner.plan`.

A plan is a short list of stages. A `Fragment` is SQL that workers run chunk by chunk;
a `Residual` is SQL that the czar runs on what came back. (An exchange of rows between
workers will be a third kind.) SQL for workers is a template: each scan source is
written as a marker that the worker replaces by the files of its batch.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.catalog.snapshot import EVERYWHERE
from qserv.catalog.tables import Column
from qserv.sky.ranges import RangeSet

MARK: Final = "\x00"
"""Brackets a scan source's number in template SQL; refused in any user's text."""

PARTIALS: Final = "partials"
"""The relation that a residual reads: all rows of the fragment before it."""


class Extent(StrEnum):
    """Which rows of a chunk a scan source reads."""

    OWN = "own"
    OWN_AND_OVERLAP = "own+overlap"
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
    """

    release: str
    table: str
    manifest_version: int
    extent: Extent
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class AreaRestrictor:
    """Only chunks that this area may touch can hold an answer.

    Parameters
    ----------
    ranges
        HEALPix order-29 ranges of the area's cover, not yet dilated by δ.
    offset
        δ in degrees of the table that is restricted; the ranges are dilated by it
        before they meet the chunks.
    """

    ranges: RangeSet
    offset: float


@dataclass(frozen=True, slots=True)
class KeyRestrictor:
    """Only the homes of these director keys can hold an answer.

    Parameters
    ----------
    release, table
        The director table, whose index turns keys into homes.
    keys
        The keys, without NULL and duplicates; empty when nothing can match.
    """

    release: str
    table: str
    keys: tuple[int | str, ...]


Restrictor = AreaRestrictor | KeyRestrictor


@dataclass(frozen=True, slots=True)
class Fragment:
    """SQL that workers run on batches of chunks.

    Parameters
    ----------
    sql
        DuckDB SQL; source number i is written ``MARK i MARK`` and parameter number j
        (from 1) ``$j``.
    parameters
        The string literals of the query: bound, never part of the text.
    sources
        What the markers stand for.
    columns
        Names and types of the rows that come back, in order.
    restrictors
        All of them hold; none means every chunk.
    needed
        Sources without whose own rows a chunk has no part in the answer.
    once
        Whether only replicated tables are read, so that one worker answers alone.
    limit
        Rows after which the remaining work may stop; None when all must run.
    """

    sql: str
    parameters: tuple[str, ...]
    sources: tuple[ScanSource, ...]
    columns: tuple[Column, ...]
    restrictors: tuple[Restrictor, ...] = ()
    needed: tuple[int, ...] = ()
    once: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Residual:
    """SQL that the czar runs on the rows of all fragments (`PARTIALS`)."""

    sql: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query is answered, exactly, at one snapshot.

    Parameters
    ----------
    query
        The text that the user sent.
    snapshot
        Snapshot id that everything in the plan was resolved against.
    family, tree_version
        The chunk tree that the fragment runs over; None for replicated tables alone.
    fragment
        What workers run; None when the metadata alone answers (COUNT(*)).
    residual
        What the czar runs on the rows that came back; None when they are the answer.
    columns
        The result's columns in order, with unit, UCD and description.
    release
        The release that the query reads, for the result's provenance.
    scan_class
        How workers schedule it.
    notes
        One line a pass that did something, in order: what EXPLAIN says and why.
    """

    query: str
    snapshot: int
    release: str
    family: str | None
    tree_version: int | None
    fragment: Fragment | None
    residual: Residual | None
    columns: tuple[Column, ...]
    scan_class: ScanClass
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """The chunks that a plan's fragment runs on, after its keys were resolved.

    Parameters
    ----------
    chunks
        Chunk ids sorted by sky range, int64; ``[EVERYWHERE]`` for a fragment that
        runs once.
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
