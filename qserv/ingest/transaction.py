"""The life of a load as a pure state machine: events in, actions out.

::

    begun --Place--> placed --Contribute--> contributing --Commit--> committing
    committing --Installed by every worker, then Published--> committed
    (any but committed) --Abort--> aborted

`step` never changes a transaction: it returns the next one together with what the
czar has to do. An event that does not fit is refused with a typed error, and the
transaction is as it was. A repeated event (a retried call) does nothing twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.errors import Conflict, InvalidRequest

_LISTED: Final = 5
"""How many problems a refusal spells out before it only counts them."""


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
    """The czar decided which workers hold what.

    Parameters
    ----------
    chunks
        Chunk -> worker ids, for every leaf of the tree.
    replicated
        Worker ids for the replicated tables.
    shards
        New index shard -> worker ids.
    """

    chunks: Mapping[int, tuple[str, ...]]
    replicated: tuple[str, ...]
    shards: Mapping[int, tuple[str, ...]]


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
class Published:
    """The metadata names the new manifests: the load is visible."""

    snapshot: int


@dataclass(frozen=True, slots=True)
class Abort:
    """The loader gives up, or its lease ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The czar could not install or publish."""

    reason: str


Event = Place | Contribute | Commit | Installed | Published | Abort | Failed


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


@dataclass(frozen=True, slots=True)
class Transaction:
    """A load as the czar knows it.

    Parameters
    ----------
    id
        Its id; part of every file name it makes.
    release
        The release it loads into.
    tables
        The tables that it may contribute to, in the catalog's spelling.
    state
        Where it is in its life.
    chunks, replicated, shards
        The placement, as in `Place`.
    files
        Staged files by path.
    installed
        Workers that made their share durable.
    snapshot
        The snapshot that made it visible.
    reason
        Why it was aborted.
    """

    id: str
    release: str
    tables: tuple[str, ...]
    state: State = State.BEGUN
    chunks: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    replicated: tuple[str, ...] = ()
    shards: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, StagedFile] = field(default_factory=dict)
    installed: frozenset[str] = frozenset()
    snapshot: int | None = None
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in {State.COMMITTED, State.ABORTED}

    @property
    def holders(self) -> tuple[str, ...]:
        """Workers that were placed and so may hold something of it, sorted."""
        lists = (*self.chunks.values(), *self.shards.values(), self.replicated)
        return tuple(sorted({worker for workers in lists for worker in workers}))

    @property
    def installers(self) -> frozenset[str]:
        """Workers that hold at least one staged file."""
        return frozenset(w for file in self.files.values() for w in file.workers)

    def placed(self, entry: ManifestEntry) -> tuple[str, ...]:
        """Return the workers that must hold a file; none if nobody was placed."""
        if entry.role is Role.INDEX:
            return self.shards.get(entry.chunk, ())
        if entry.chunk == EVERYWHERE:
            return self.replicated
        return self.chunks.get(entry.chunk, ())

    def missing(self, rows: Mapping[str, int]) -> tuple[str, ...]:
        """Say what stands between the transaction and its commit.

        Parameters
        ----------
        rows
            Expected new rows by table; a table that is not named expects none.

        Returns
        -------
        tuple of str
            One sentence for each missing acknowledgement and each table whose
            contributed base rows differ; empty when it may commit.
        """
        return (*self._unacknowledged(), *self._miscounted(rows))

    def _unacknowledged(self) -> Iterable[str]:
        for path, file in sorted(self.files.items()):
            for worker in self.placed(file.entry):
                if worker not in file.workers:
                    yield f"worker {worker} has not acknowledged {path}"

    def _miscounted(self, rows: Mapping[str, int]) -> Iterable[str]:
        found = dict.fromkeys(self.tables, 0)
        for file in self.files.values():
            if file.entry.role is Role.BASE:
                found[file.table] += file.entry.rows
        for table in sorted(found.keys() | rows.keys()):
            expected, have = rows.get(table, 0), found.get(table, 0)
            if expected != have:
                yield f"table {table} has {have} contributed rows, not {expected}"


def step(
    transaction: Transaction, event: Event
) -> tuple[Transaction, tuple[Action, ...]]:
    """Apply one event.

    Returns
    -------
    tuple
        The load as it is then, and what the czar has to do about it, in order.

    Raises
    ------
    Conflict
        If the event does not fit the state.
    InvalidRequest
        If it names tables, chunks or counts that do not fit.
    """
    after: tuple[Transaction, tuple[Action, ...]]
    match event:
        case Place():
            after = _place(transaction, event), ()
        case Contribute():
            after = _contribute(transaction, event.files), ()
        case Commit():
            after = _commit(transaction, event.rows)
        case Installed():
            after = _installed(transaction, event.worker)
        case Published():
            after = _published(transaction, event.snapshot), ()
        case Abort():
            after = _abort(transaction, event.reason)
        case Failed():
            after = _undo(transaction, event.reason)
    return after


def _require(transaction: Transaction, what: str, *states: State) -> None:
    if transaction.state not in states:
        why = f" ({transaction.reason})" if transaction.reason else ""
        raise Conflict(
            f"load {transaction.id} is {transaction.state}{why}: it cannot {what}"
        )


def _place(transaction: Transaction, event: Place) -> Transaction:
    _require(transaction, "be placed", State.BEGUN)
    lists = (*event.chunks.values(), *event.shards.values())
    if not event.chunks or not all(lists):
        raise InvalidRequest(f"load {transaction.id}: a chunk or shard has no worker")
    return replace(
        transaction,
        state=State.PLACED,
        chunks=event.chunks,
        replicated=event.replicated,
        shards=event.shards,
    )


def _contribute(transaction: Transaction, files: tuple[StagedFile, ...]) -> Transaction:
    _require(transaction, "take files", State.PLACED, State.CONTRIBUTING)
    known = dict(transaction.files)
    for file in files:
        known[file.entry.path] = _admit(transaction, known, file)
    return replace(transaction, state=State.CONTRIBUTING, files=known)


def _admit(
    transaction: Transaction, known: Mapping[str, StagedFile], file: StagedFile
) -> StagedFile:
    path = file.entry.path
    if file.table not in transaction.tables:
        raise InvalidRequest(
            f"load {transaction.id} does not load table {file.table}; "
            f"it loads {', '.join(transaction.tables)}"
        )
    placed = transaction.placed(file.entry)
    if not placed or file.workers - set(placed):
        raise InvalidRequest(
            f"load {transaction.id}: {path} was placed on {', '.join(placed) or 'none'}"
            f", but is on {', '.join(sorted(file.workers)) or 'none'}"
        )
    if (before := known.get(path)) is None:
        return file
    if (before.table, before.entry) != (file.table, file.entry):
        raise Conflict(
            f"load {transaction.id}: {path} was contributed before with other content"
        )
    return replace(file, workers=before.workers | file.workers)


def _commit(
    transaction: Transaction, rows: Mapping[str, int]
) -> tuple[Transaction, tuple[Action, ...]]:
    _require(transaction, "commit", State.CONTRIBUTING)
    if missing := transaction.missing(rows):
        more = len(missing) - _LISTED
        raise InvalidRequest(
            f"load {transaction.id} cannot commit: {'; '.join(missing[:_LISTED])}"
            + (f"; and {more} more" if more > 0 else "")
        )
    committing = replace(transaction, state=State.COMMITTING)
    return committing, tuple(
        Install(worker=worker, files=_share(transaction, worker))
        for worker in sorted(transaction.installers)
    )


def _share(
    transaction: Transaction, worker: str
) -> dict[str, tuple[ManifestEntry, ...]]:
    held = [f for _, f in sorted(transaction.files.items()) if worker in f.workers]
    return {
        table: tuple(file.entry for file in held if file.table == table)
        for table in dict.fromkeys(file.table for file in held)
    }


def _installed(
    transaction: Transaction, worker: str
) -> tuple[Transaction, tuple[Action, ...]]:
    _require(transaction, "be installed", State.COMMITTING)
    if worker not in transaction.installers:
        raise InvalidRequest(
            f"load {transaction.id}: worker {worker} holds none of its files"
        )
    if worker in transaction.installed:
        return transaction, ()
    after = replace(transaction, installed=transaction.installed | {worker})
    if after.installed != after.installers:
        return after, ()
    files = tuple(file for _, file in sorted(after.files.items()))
    return after, (Publish(files=files),)


def _published(transaction: Transaction, snapshot: int) -> Transaction:
    _require(transaction, "be published", State.COMMITTING)
    if absent := transaction.installers - transaction.installed:
        raise Conflict(f"load {transaction.id} is not installed on {min(absent)} yet")
    return replace(transaction, state=State.COMMITTED, snapshot=snapshot)


def _abort(
    transaction: Transaction, reason: str
) -> tuple[Transaction, tuple[Action, ...]]:
    committing = transaction.state is State.COMMITTING
    if committing and transaction.installed == transaction.installers:
        raise Conflict(f"load {transaction.id} is being published: too late to abort")
    return _undo(transaction, reason)


def _undo(
    transaction: Transaction, reason: str
) -> tuple[Transaction, tuple[Action, ...]]:
    if transaction.state is State.ABORTED:
        return transaction, ()
    if transaction.state is State.COMMITTED:
        _require(transaction, "be aborted", State.ABORTED)
    after = replace(transaction, state=State.ABORTED, reason=reason)
    return after, tuple(Discard(worker=worker) for worker in transaction.holders)
