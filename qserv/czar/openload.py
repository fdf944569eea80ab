"""A load under way as its czar knows it, and how it is written down and read again."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qserv.catalog.bounds import Bounds, from_text, to_text
from qserv.catalog.loadstore import Kept
from qserv.catalog.provenance import Contribution, Input
from qserv.catalog.publication import HeldFile
from qserv.catalog.snapshot import EVERYWHERE, Family, Snapshot, TableVersion
from qserv.czar.beginning import Beginning, Layout, Target, target
from qserv.czar.choosing import Lists, Placed
from qserv.czar.requests import from_json, to_json
from qserv.errors import InvalidRequest
from qserv.ingest.events import StagedFile, State
from qserv.ingest.transaction import Transaction
from qserv.sky.chunking import ChunkTree


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a loader says it is.

    Parameters
    ----------
    phase, table
        What it does.
    rows, total
        Done and to do in this phase; 0: not known.
    size
        Bytes.
    seconds
        Since the load began.
    """

    phase: str = ""
    table: str = ""
    rows: int = 0
    total: int = 0
    size: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a loader asked to be committed.

    Parameters
    ----------
    rows
        Expected new rows by table.
    bounds
        Of the new rows, by table.
    checked
        Versions of tables that new keys were compared with.
    """

    rows: Mapping[str, int]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    checked: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """How a commit ended.

    Parameters
    ----------
    snapshot
        That shows the load.
    newer
        Not empty: nothing was committed, new keys are to be compared with these first.
    """

    snapshot: int = 0
    newer: tuple[TableVersion, ...] = ()


@dataclass(slots=True, eq=False)
class OpenLoad:
    """A load that is neither committed nor aborted.

    Parameters
    ----------
    transaction
        Where it is in its life.
    asked, target
        What its loader asked for (without inputs), and what it goes into.
    told
        Versions of its tables that its loader was told of.
    heard, unheard
        When its loader gave a sign of life, on the czar's monotonic clock; seconds of
        silence before the czar's start.
    inputs, numbers, contents
        By number; (table, file) -> number; (table, sha256) -> file of those read.
    placed, wanted, version
        Once it was placed, is to be committed, has a number for its manifests.
    progress, since
        How far it is, and where its phase began.
    noted
        When a sign of life was last written down.
    one_call
        Held by the call that changes it.
    commit
        Its commit, once it runs.
    """

    transaction: Transaction
    asked: Beginning
    target: Target
    told: Mapping[str, int]
    heard: float
    unheard: float = 0.0
    inputs: dict[int, Input] = field(default_factory=dict)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    contents: dict[tuple[str, str], str] = field(default_factory=dict)
    placed: Placed | None = None
    wanted: Wanted | None = None
    version: int | None = None
    progress: Progress = Progress()
    since: Progress = Progress()
    noted: float = 0.0
    one_call: asyncio.Lock = field(default_factory=asyncio.Lock)
    commit: "asyncio.Task[Committed] | None" = None

    @property
    def id(self) -> str:
        """Its id."""
        return self.transaction.id

    def spelling(self, table: str) -> str:
        """Return the catalog's spelling of a table's name."""
        for known in self.target.tables:
            if known.name.lower() == table.lower():
                return known.name
        return table

    def needs(self, release: str, table: str) -> bool:
        """Whether it makes or fills a table, or its children."""
        same = self.target.release.lower() == release.lower()
        return same and self.target.needs(table)

    def tell(self, progress: Progress) -> None:
        """Know how far the loader is."""
        if progress.phase != self.progress.phase:
            began = self.progress.seconds
            self.since = replace(progress, rows=0, seconds=began)
        self.progress = progress

    @property
    def rate(self) -> float:
        """Rows a second in this phase; 0 before there are any."""
        seconds = self.progress.seconds - self.since.seconds
        return self.progress.rows / seconds if seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end of this phase, about; None where nobody knows."""
        if not (self.progress.total and self.rate):
            return None
        return max(0, self.progress.total - self.progress.rows) / self.rate

    def input(self, read: Contribution) -> Input:
        """Return an input file with what was read from it; a new one has no number.

        Raises
        ------
        InvalidRequest
            If it has a number that is none of this load's.
        """
        number = read.number or self.numbers.get((read.table, read.source), 0)
        if number and number not in self.inputs:
            raise InvalidRequest(
                f"load {self.id} has no file number {number} ({read.source})"
            )
        return Input(
            number=number,
            table=read.table,
            source=read.source,
            sha256=read.sha256,
            read=True,
            rows=read.rows,
            nulled=read.nulled,
            wrapped=read.wrapped,
            rejected=read.rejected,
        )

    def take(self, inputs: Iterable[Input]) -> None:
        """Know input files, or what was read from them."""
        for each in inputs:
            self.inputs[each.number] = each
            self.numbers[each.table, each.source] = each.number
            if each.read and each.rows:
                self.contents[each.table, each.sha256] = each.source

    @property
    def contributions(self) -> tuple[Contribution, ...]:
        """What it brings."""
        return tuple(i.contribution for i in self.inputs.values() if i.read)

    @property
    def rows(self) -> int:
        """Rows read so far, as its loader told."""
        return sum(each.rows for each in self.inputs.values())

    @property
    def rejected(self) -> int:
        """Rows left out so far."""
        return sum(each.rejected for each in self.inputs.values())


def fresh(number: str, asked: Beginning, goal: Target, now: float) -> OpenLoad:
    """Return a load that begins."""
    names = tuple(table.name for table in goal.tables)
    # What was left to the czar stays as it was decided.
    copies = 0 if goal.layout.cut else goal.layout.replicas
    return OpenLoad(
        transaction=Transaction(id=number, release=goal.release, tables=names),
        asked=replace(asked, inputs=(), replicas=copies, tables=goal.tables),
        target=goal,
        told={v.table.name: v.manifest_version for v in goal.existing},
        heard=now,
        noted=now,
    )


def kept(load: OpenLoad, inputs: Iterable[Input]) -> Kept:
    """Return what to write down of a load that begins."""
    return Kept(
        id=load.id,
        state=load.transaction.state,
        attempt=load.transaction.attempt,
        fingerprint=load.asked.fingerprint,
        request=to_json(load.asked, load.target.radii),
        told=load.told,
        inputs=tuple(inputs),
    )


def revived(known: Kept, snapshot: Snapshot, *, now: float) -> OpenLoad:
    """Return a load as an earlier czar wrote it down.

    Raises
    ------
    QservError
        If it does not fit what there is any more.
    """
    asked, radii = from_json(known.request)
    goal = target(asked, snapshot, replicas=asked.replicas)
    if radii is not None:
        # As its loader was told, whatever another load has made of it since.
        goal = replace(goal, tables=asked.tables, radii=radii)
    load = fresh(known.id, asked, goal, now)
    load.told = known.told
    load.take(known.inputs)
    load.version = known.version
    if known.commit:
        load.wanted = _wanted(known.commit)
    files = {f.entry.path: StagedFile(f.table, f.entry, f.workers) for f in known.files}
    load.transaction = replace(
        load.transaction,
        state=State(known.state),
        attempt=known.attempt,
        files=files,
        reason=known.reason,
    )
    if known.placement:
        load.placed = _placed(known.placement, goal.layout)
        load.transaction = replace(
            load.transaction,
            former=frozenset(known.placement["former"]),
            **where(load.placed),
        )
    return load


def where(placed: Placed) -> dict[str, Any]:
    """Return a placement as `qserv.ingest.events.Place` has it."""
    chunks = dict(placed.at)
    return {
        "replicated": chunks.pop(EVERYWHERE),
        "chunks": chunks,
        "shards": placed.shards,
        "copies": placed.copies,
    }


def held(file: StagedFile) -> HeldFile:
    """Return a staged file as the metadata knows it."""
    return HeldFile(file.table, file.entry, file.workers)


def placement_to_json(placed: Placed, former: Iterable[str]) -> Any:
    """Return a placement as values that JSON can hold."""
    family = placed.family
    return {
        "tree": family.tree.chunks.tolist() if placed.made else None,
        "tree_version": family.tree_version,
        "replicas": _packed(family.replicas) if placed.made else None,
        "made": placed.made,
        "copies": placed.copies,
        "at": _packed(placed.at),
        "shards": _packed(placed.shards),
        "first_shard": placed.first_shard,
        "former": sorted(former),
    }


def wanted_to_json(wanted: Wanted) -> Any:
    """Return what is to be committed as values that JSON can hold."""
    return {
        "rows": dict(wanted.rows),
        "bounds": {table: to_text(ends) for table, ends in wanted.bounds.items()},
        "checked": dict(wanted.checked),
    }


def _wanted(plain: Any) -> Wanted:
    bounds = {table: from_text(text) for table, text in plain["bounds"].items()}
    return Wanted(plain["rows"], bounds, plain["checked"])


def _packed(lists: Lists) -> Any:
    """Write equal lists of workers once: a hundred thousand chunks have a few."""
    known: dict[tuple[str, ...], int] = {}
    which = [known.setdefault(workers, len(known)) for workers in lists.values()]
    return {"lists": list(known), "numbers": list(lists), "which": which}


def _unpacked(plain: Any) -> dict[int, tuple[str, ...]]:
    lists = [tuple(workers) for workers in plain["lists"]]
    return {
        number: lists[at]
        for number, at in zip(plain["numbers"], plain["which"], strict=True)
    }


def _placed(plain: Any, layout: Layout) -> Placed:
    family = layout.existing
    if plain["made"]:
        family = Family(
            name=layout.family,
            overlap=layout.overlap,
            leaf_rows=layout.leaf_rows,
            leaf_bytes=layout.leaf_bytes,
            tree_version=plain["tree_version"],
            tree=ChunkTree(np.array(plain["tree"], np.int64)),
            copies=layout.replicas,
            replicas=_unpacked(plain["replicas"]),
        )
    assert family is not None, "a load that makes no family found one"
    return Placed(
        family=family,
        made=plain["made"],
        copies=plain["copies"],
        at=_unpacked(plain["at"]),
        shards=_unpacked(plain["shards"]),
        first_shard=plain["first_shard"],
    )
