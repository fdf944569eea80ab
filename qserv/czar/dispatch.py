"""Which worker runs which chunks, as a pure state machine: events in, actions out.

Each chunk counts once: it is outstanding in at most one open attempt, and leaves it by
one accepted batch. An attempt is one task sent to one worker; its number is unique in
the query, so that frames of a superseded attempt are known and dropped. What a lost or
refusing worker leaves unfinished goes to the next replica, and when none is left the
query fails: it never answers without a chunk. An attempt that cannot read what another
worker kept for it is no fault of its own worker: its chunks are set aside, and wait for
a later run (`qserv.czar.exchange`).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.errors import (
    ClusterError,
    ExecutorDied,
    InternalError,
    QservError,
    SpoolLost,
    TaskFailed,
    WorkerUnavailable,
)

_DEATHS: Final = 3
"""Executors of a worker that may die over a chunk: it may be the chunk's fault."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin the work.

    Parameters
    ----------
    chunks
        Chunk ids in the order in which a worker shall read them.
    work
        Bytes to read in each, aligned.
    replicas
        Chunk -> the workers that hold it, preferred first.
    alive
        The workers that answer.
    busy
        Bytes that workers have to read for other queries.
    """

    chunks: npt.NDArray[np.int64]
    work: npt.NDArray[np.int64]
    replicas: Mapping[int, tuple[str, ...]]
    alive: Collection[str]
    busy: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchDone:
    """All rows of a batch arrived, and their digest is right."""

    attempt: int
    batch: int
    chunks: Collection[int]


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A worker says that it has sent everything of an attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt ended with an error."""

    attempt: int
    error: QservError


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is silent or gone."""

    worker: str
    error: ClusterError


@dataclass(frozen=True, slots=True)
class Stop:
    """No more rows are wanted: a limit is reached, or somebody cancelled."""


Event = Start | BatchDone | TaskEnded | AttemptFailed | WorkerLost | Stop


@dataclass(frozen=True, slots=True)
class Send:
    """Send a worker its task."""

    attempt: int
    worker: str
    chunks: tuple[int, ...]
    work: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop listening to an attempt and have its worker stop."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Accept:
    """The rows of a batch count."""

    attempt: int
    batch: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """What an attempt has not finished waits: another worker lost what it reads."""

    error: SpoolLost


@dataclass(frozen=True, slots=True)
class Fail:
    """The query ends with an error."""

    error: QservError


@dataclass(frozen=True, slots=True)
class Finish:
    """All rows are there but those of chunks that were set aside."""


Action = Send | Cancel | Accept | SetAside | Fail | Finish


@dataclass(slots=True)
class _Attempt:
    worker: str
    outstanding: set[int]


class Dispatch:
    """One run of one stage of one query.

    Parameters
    ----------
    attempts
        How many tasks the query has sent before: numbers go on from there.
    """

    def __init__(self, attempts: int = 0) -> None:
        self._work: dict[int, int] = {}
        self._replicas: Mapping[int, tuple[str, ...]] = {}
        self._alive: set[str] = set()
        self._load: defaultdict[str, int] = defaultdict(int)
        self._open: dict[int, _Attempt] = {}
        self._refused: defaultdict[int, dict[str, ClusterError]] = defaultdict(dict)
        self._deaths: Counter[tuple[int, str]] = Counter()
        self._gone: dict[str, ClusterError] = {}
        self._over = False
        self.attempts = attempts
        """How many tasks the query has sent."""

    def handle(self, event: Event) -> list[Action]:
        """Take in what happened and return what to do about it, in order."""
        if self._over:
            return []
        match event:
            case Start():
                return self._start(event)
            case BatchDone():
                return self._batch_done(event)
            case TaskEnded():
                return self._ended(event.attempt)
            case AttemptFailed():
                return self._failed(event)
            case WorkerLost():
                return self._lost(event.worker, event.error)
            case Stop():
                return [*self._close(), Finish()]

    def _start(self, event: Start) -> list[Action]:
        chunks = event.chunks.tolist()
        self._work = dict(zip(chunks, event.work.tolist(), strict=True))
        self._replicas = event.replicas
        self._alive = set(event.alive)
        self._load.update(event.busy)
        return self._assign(chunks) or [*self._close(), Finish()]

    def _batch_done(self, event: BatchDone) -> list[Action]:
        if (attempt := self._open.get(event.attempt)) is None:
            return []
        done = set(event.chunks)
        if len(done) != len(event.chunks) or not done <= attempt.outstanding:
            return self._fail(
                InternalError(
                    f"worker {attempt.worker} completed chunks that it was not asked "
                    f"for: {sorted(done - attempt.outstanding)[:5]}"
                )
            )
        attempt.outstanding -= done
        self._load[attempt.worker] -= sum(self._work[chunk] for chunk in done)
        return [Accept(event.attempt, event.batch)]

    def _ended(self, number: int) -> list[Action]:
        if (attempt := self._open.get(number)) is None:
            return []
        if attempt.outstanding:
            early = TaskFailed("its task ended early")
            return self._failed(AttemptFailed(number, early))
        del self._open[number]
        return self._finish_if_done()

    def _failed(self, event: AttemptFailed) -> list[Action]:
        if (attempt := self._open.pop(event.attempt, None)) is None:
            return []
        match event.error:
            case WorkerUnavailable() as error:
                unfinished = self._drop(attempt, error)
                return self._lost(attempt.worker, error, unfinished)
            case SpoolLost() as error:
                self._take_off(attempt)
                return [SetAside(error), *self._finish_if_done()]
            case ClusterError() as error:
                return self._again(self._drop(attempt, error))
            case error:
                return self._fail(error)

    def _lost(
        self, worker: str, error: ClusterError, unfinished: Iterable[int] = ()
    ) -> list[Action]:
        self._alive.discard(worker)
        self._gone[worker] = error
        again = list(unfinished)
        actions: list[Action] = []
        for number, attempt in list(self._open.items()):
            if attempt.worker == worker:
                del self._open[number]
                actions.append(Cancel(number))
                again += self._drop(attempt, error)
        return [*actions, *self._again(again)]

    def _drop(self, attempt: _Attempt, error: ClusterError) -> list[int]:
        """Take what an attempt has not finished off its worker.

        For good where the worker says that it cannot answer for a chunk, or says not
        for which; the other chunks may come back to it.
        """
        self._take_off(attempt)
        unfinished = [chunk for chunk in self._work if chunk in attempt.outstanding]
        if isinstance(error, ExecutorDied):
            self._bury(attempt, error)
            return unfinished
        for chunk in attempt.outstanding.intersection(error.chunks) or (
            attempt.outstanding
        ):
            self._refused[chunk][attempt.worker] = error
        return unfinished

    def _bury(self, attempt: _Attempt, error: ClusterError) -> None:
        """Let a worker try again, a few times: it has a new executor soon."""
        for chunk in attempt.outstanding:
            self._deaths[chunk, attempt.worker] += 1
            if self._deaths[chunk, attempt.worker] == _DEATHS:
                self._refused[chunk][attempt.worker] = error

    def _take_off(self, attempt: _Attempt) -> None:
        left = sum(self._work[chunk] for chunk in attempt.outstanding)
        self._load[attempt.worker] -= left

    def _again(self, chunks: list[int]) -> list[Action]:
        return self._assign(chunks) if chunks else self._finish_if_done()

    def _finish_if_done(self) -> list[Action]:
        return [] if self._open else [*self._close(), Finish()]

    def _assign(self, chunks: list[int]) -> list[Action]:
        shares: defaultdict[str, list[int]] = defaultdict(list)
        stranded = []
        for chunk in chunks:
            if (worker := self._choose(chunk)) is None:
                stranded.append(chunk)
                continue
            shares[worker].append(chunk)
            self._load[worker] += self._work[chunk]
        if stranded:
            return self._fail(self._stranded(stranded))
        return [self._send(worker, share) for worker, share in sorted(shares.items())]

    def _choose(self, chunk: int) -> str | None:
        refused = self._refused.get(chunk, ())
        able = [
            worker
            for worker in self._replicas.get(chunk, ())
            if worker in self._alive and worker not in refused
        ]
        # min() keeps the preferred one of equals.
        return min(able, key=lambda w: self._reluctance(chunk, w), default=None)

    def _reluctance(self, chunk: int, worker: str) -> tuple[int, int]:
        return self._deaths[chunk, worker], self._load[worker]

    def _send(self, worker: str, chunks: list[int]) -> Send:
        self.attempts += 1
        self._open[self.attempts] = _Attempt(worker, set(chunks))
        work = tuple(self._work[chunk] for chunk in chunks)
        return Send(self.attempts, worker, tuple(chunks), work)

    def _stranded(self, chunks: list[int]) -> ClusterError:
        reasons = [
            *{repr(why): why for c in chunks for why in self._reasons(c)}.values()
        ]
        holders = {w for chunk in chunks for w in self._replicas.get(chunk, ())}
        said = [f"worker {worker}: {error.text}" for worker, error in reasons] or [
            f"workers {', '.join(sorted(holders)) or '(none placed)'} are not alive"
        ]
        kinds = {type(error) for _, error in reasons}
        kind = kinds.pop() if len(kinds) == 1 else WorkerUnavailable
        count = f"{len(chunks)} chunk{'s' if len(chunks) > 1 else ''}"
        return kind(f"no live replica is left of {count}; {'; '.join(said)}")

    def _reasons(self, chunk: int) -> Iterator[tuple[str, ClusterError]]:
        """Give why the workers that hold a chunk cannot answer for it."""
        for worker in sorted(self._replicas.get(chunk, ())):
            refused = self._refused[chunk].get(worker)
            if (why := refused or self._gone.get(worker)) is not None:
                yield worker, why

    def _fail(self, error: QservError) -> list[Action]:
        return [*self._close(), Fail(error)]

    def _close(self) -> list[Action]:
        """Cancel whatever is open; nothing is heard from now on."""
        self._over = True
        cancels: list[Action] = [Cancel(number) for number in self._open]
        self._open.clear()
        return cancels
