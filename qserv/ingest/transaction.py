"""The life of a load as a pure state machine: events in, actions out.

::

    begun --Place--> placed --Contribute--> contributing --Commit--> committing
    committing --Installed or Skipped for every worker, then Published--> committed
    committing --Reopen--> contributing
    (any but committed) --Abort or Failed--> aborted

`step` never changes a transaction: it returns the next one together with what the
czar has to do. An event that does not fit is refused with a typed error, and the
transaction is as it was. A repeated event (a retried call) does nothing twice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.errors import Conflict, InvalidRequest, Superseded
from qserv.ingest.events import (
    Abort,
    Action,
    Commit,
    Contribute,
    Discard,
    Event,
    Failed,
    Install,
    Installed,
    Place,
    Publish,
    Published,
    Reopen,
    Resume,
    Skipped,
    StagedFile,
    State,
)

_LISTED: Final = 5
"""How many problems a refusal spells out before it only counts them."""

_OPEN: Final = (State.BEGUN, State.PLACED, State.CONTRIBUTING)


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
    attempt
        Which loader in turn it has; calls of earlier ones are refused.
    chunks, replicated, shards, copies
        The placement, as in `Place`.
    former
        Workers that others took the place of; they may hold something, too.
    files
        Staged files by path.
    installed, skipped
        Workers that made their share durable, or could not.
    snapshot
        The snapshot that made it visible.
    reason
        Why it was aborted.
    """

    id: str
    release: str
    tables: tuple[str, ...]
    state: State = State.BEGUN
    attempt: int = 1
    chunks: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    replicated: tuple[str, ...] = ()
    shards: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    copies: int = 1
    former: frozenset[str] = frozenset()
    files: Mapping[str, StagedFile] = field(default_factory=dict)
    installed: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    snapshot: int | None = None
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in {State.COMMITTED, State.ABORTED}

    @property
    def holders(self) -> tuple[str, ...]:
        """Workers that are or were placed and may hold something of it, sorted."""
        lists = (*self.chunks.values(), *self.shards.values(), self.replicated)
        placed = {worker for workers in lists for worker in workers}
        return tuple(sorted(placed | self.former | self.installers))

    @property
    def installers(self) -> frozenset[str]:
        """Workers that hold at least one staged file."""
        return frozenset(w for file in self.files.values() for w in file.workers)

    def placed(self, entry: ManifestEntry) -> tuple[str, ...]:
        """Return the workers that shall hold a file; none if nobody was placed."""
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
            One sentence for each file that too few of its workers acknowledged and
            each table whose contributed base rows differ; empty when it may commit.
        """
        return (*self._unacknowledged(), *self._miscounted(rows))

    def _unacknowledged(self) -> Iterable[str]:
        for path, file in sorted(self.files.items()):
            placed = self.placed(file.entry)
            absent = [worker for worker in placed if worker not in file.workers]
            if len(placed) - len(absent) < min(self.copies, len(placed)):
                yield (
                    f"{' and '.join(f'worker {w}' for w in absent)} "
                    f"{'has' if len(absent) == 1 else 'have'} not acknowledged {path}"
                )

    def _miscounted(self, rows: Mapping[str, int]) -> Iterable[str]:
        found = Counter(dict.fromkeys(self.tables, 0))
        for file in self.files.values():
            if file.entry.role is Role.BASE:
                found[file.table] += file.entry.rows
        for table in sorted(found.keys() | rows.keys()):
            expected, have = rows.get(table, 0), found[table]
            if expected != have:
                yield f"table {table} has {have} contributed rows, not {expected}"

    @property
    def lacking(self) -> str | None:
        """Path of a file that too few workers made durable, if there is one."""
        for path, file in self.files.items():
            enough = min(self.copies, len(self.placed(file.entry)))
            if len(file.workers & self.installed) < enough:
                return path
        return None


def fence(transaction: Transaction, attempt: int) -> None:
    """Refuse a call of a loader whose load another one has taken over.

    Parameters
    ----------
    transaction
        The load.
    attempt
        What the caller was given at its beginning; 0 for the first.

    Raises
    ------
    Superseded
        If it is not the newest.
    """
    if (attempt or 1) != transaction.attempt:
        raise Superseded(
            f"load {transaction.id} was taken over by another loader (attempt "
            f"{transaction.attempt}, this is {attempt or 1}): this one was silent for "
            "too long and has to stop"
        )


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
        case Resume():
            after = _resume(transaction), ()
        case Contribute():
            after = _contribute(transaction, event.files), ()
        case Commit():
            after = _commit(transaction, event.rows)
        case Installed() | Skipped():
            after = _reported(transaction, event)
        case Published():
            after = _published(transaction, event.snapshot), ()
        case Reopen():
            after = _reopen(transaction, event.reason), ()
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
    _require(transaction, "be placed", *_OPEN)
    lists = (*event.chunks.values(), *event.shards.values())
    if not event.chunks or not all(lists):
        raise InvalidRequest(f"load {transaction.id}: a chunk or shard has no worker")
    first = transaction.state is State.BEGUN
    if not first and (transaction.chunks.keys(), transaction.shards.keys()) != (
        event.chunks.keys(),
        event.shards.keys(),
    ):
        raise Conflict(
            f"load {transaction.id} was placed before with another tree, or another "
            "number of index shards"
        )
    return replace(
        transaction,
        state=State.PLACED if first else transaction.state,
        chunks=event.chunks,
        replicated=event.replicated,
        shards=event.shards,
        copies=event.copies,
        former=frozenset(() if first else transaction.holders),
    )


def _resume(transaction: Transaction) -> Transaction:
    _require(transaction, "be resumed", *_OPEN)
    return replace(transaction, attempt=transaction.attempt + 1)


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
    if not placed or file.workers - {*placed, *transaction.former}:
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
    committing = replace(transaction, state=State.COMMITTING, reason="")
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


def _reported(
    transaction: Transaction, event: Installed | Skipped
) -> tuple[Transaction, tuple[Action, ...]]:
    _require(transaction, "be installed", State.COMMITTING)
    worker = event.worker
    if worker not in transaction.installers:
        raise InvalidRequest(
            f"load {transaction.id}: worker {worker} holds none of its files"
        )
    if worker in transaction.installed | transaction.skipped:
        return transaction, ()
    if isinstance(event, Installed):
        after = replace(transaction, installed=transaction.installed | {worker})
    else:
        after = replace(transaction, skipped=transaction.skipped | {worker})
    if _waiting(after) or after.lacking:
        return after, ()
    return after, (Publish(files=tuple(_durable(after))),)


def _waiting(transaction: Transaction) -> frozenset[str]:
    return transaction.installers - transaction.installed - transaction.skipped


def _durable(transaction: Transaction) -> Iterable[StagedFile]:
    for _, file in sorted(transaction.files.items()):
        yield replace(file, workers=file.workers & transaction.installed)


def _published(transaction: Transaction, snapshot: int) -> Transaction:
    _require(transaction, "be published", State.COMMITTING)
    if absent := _waiting(transaction):
        raise Conflict(f"load {transaction.id} is not installed on {min(absent)} yet")
    if path := transaction.lacking:
        raise Conflict(f"load {transaction.id}: too few workers installed {path}")
    return replace(transaction, state=State.COMMITTED, snapshot=snapshot)


def _reopen(transaction: Transaction, reason: str) -> Transaction:
    _require(transaction, "be reopened", State.COMMITTING)
    nobody: frozenset[str] = frozenset()
    return replace(
        transaction,
        state=State.CONTRIBUTING,
        installed=nobody,
        skipped=nobody,
        reason=reason,
    )


def _abort(
    transaction: Transaction, reason: str
) -> tuple[Transaction, tuple[Action, ...]]:
    committing = transaction.state is State.COMMITTING
    if committing and not _waiting(transaction):
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
