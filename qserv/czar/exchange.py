"""Which parts of a query must run, or run again, as a pure state machine.

A fragment is whole when each of its chunks is done. Where its rows stay on the workers,
a chunk is done only as long as the worker that has them keeps them: when one is lost,
the chunks that it had spooled run again elsewhere, before the buckets that could not
read them do. What was read before the loss stays read, if what is made again fits to
it: where keys may differ, as sums of floats do in their last bits, one may have changed
its bucket, and all that was made of the old rows goes. Events in, actions out.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from qserv.errors import ClusterError, SpoolLost

_TRIES: Final = 5
"""How often a chunk or a bucket may run before the query gives up."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A fragment begins.

    Parameters
    ----------
    stage
        Its number.
    chunks
        Its chunks, or buckets.
    spools
        Whether its rows stay on the workers.
    inputs
        The spooled stages that its buckets are of.
    steady
        Whether rows that are made again come into the same buckets.
    """

    stage: int
    chunks: Collection[int]
    spools: bool = False
    inputs: tuple[int, ...] = ()
    steady: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """A batch of a fragment was accepted."""

    stage: int
    worker: str
    attempt: int
    batch: int
    chunks: Collection[int]


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker no longer has what it spooled."""

    worker: str
    error: ClusterError


@dataclass(frozen=True, slots=True)
class Ended:
    """A run has ended; chunks that it set aside may go again."""


Event = Begin | Done | Lost | Ended


@dataclass(frozen=True, slots=True)
class Share:
    """What one accepted attempt spooled on one worker."""

    worker: str
    attempt: int
    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Run chunks of a stage.

    Parameters
    ----------
    stage, chunks
        Which.
    inputs
        Where all rows of the spooled stages are whose buckets it reads, by number.
    avoid
        Workers that have lost rows of this query: others are preferred.
    """

    stage: int
    chunks: tuple[int, ...]
    inputs: Mapping[int, tuple[Share, ...]]
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Undo:
    """Chunks of a stage that were done are not any more."""

    stage: int
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """The query ends with an error."""

    error: ClusterError


@dataclass(frozen=True, slots=True)
class Finish:
    """The fragment that began last is whole."""


Action = Run | Undo | Fail | Finish


@dataclass(slots=True)
class _Stage:
    inputs: tuple[int, ...]
    spools: bool
    steady: bool
    missing: dict[int, None]
    """A set in the order in which workers shall read."""
    tries: Counter[int] = field(default_factory=Counter)
    done: list[Done] = field(default_factory=list)
    edition: int = 0
    """Counts how often all its rows were dropped to be made again."""
    reads: dict[int, int] = field(default_factory=dict)
    """The editions of its inputs that it was last told to read."""
    made_of: dict[int, int] | None = None
    """Those of which all was made that is done; None if nothing is."""


class Exchange:
    """The fragments of one query."""

    def __init__(self) -> None:
        self._stages: dict[int, _Stage] = {}
        self._target = 0
        self._losses: dict[str, ClusterError] = {}

    def handle(self, event: Event) -> list[Action]:
        """Take in what happened and return what to do about it, in order."""
        match event:
            case Begin():
                return self._begin(event)
            case Done():
                return self._done(event)
            case Lost():
                return self._lost(event)
            case Ended():
                return self._next(self._target) or [Finish()]

    def _begin(self, event: Begin) -> list[Action]:
        missing = dict.fromkeys(event.chunks)
        self._stages[event.stage] = _Stage(
            event.inputs, event.spools, event.steady, missing
        )
        self._target = event.stage
        return self._next(event.stage) or [Finish()]

    def _done(self, event: Done) -> list[Action]:
        stage = self._stages[event.stage]
        for chunk in event.chunks:
            del stage.missing[chunk]
        if stage.spools:
            stage.done.append(event)
        stage.made_of = stage.reads
        return []

    def _lost(self, event: Lost) -> list[Action]:
        self._losses[event.worker] = event.error
        undone: list[Action] = []
        for number, stage in self._stages.items():
            gone = [done for done in stage.done if done.worker == event.worker]
            if gone:
                undone.append(self._drop(number, gone))
        return undone

    def _drop(self, number: int, gone: Collection[Done]) -> Undo:
        """Have parts of a stage made again: all, if others were made of its rows."""
        stage = self._stages[number]
        if not stage.steady and any(number in s.reads for s in self._stages.values()):
            gone, stage.edition = stage.done, stage.edition + 1
        stage.done = [done for done in stage.done if done not in gone]
        if not stage.done:
            stage.made_of = None
        chunks = tuple(chunk for done in gone for chunk in done.chunks)
        stage.missing |= dict.fromkeys(chunks)
        return Undo(number, chunks)

    def _next(self, number: int) -> list[Action]:
        """Return what a stage needs next; nothing where it is whole.

        The inputs of a stage that is whole may be lost: nobody reads them again.
        """
        stage = self._stages[number]
        if not stage.missing:
            return []
        now = {needed: self._stages[needed].edition for needed in stage.inputs}
        undone: list[Action] = []
        if stage.made_of not in (None, now):
            if not stage.spools:
                return [Fail(self._unlike(number))]
            undone = [self._drop(number, stage.done)]
        for needed in stage.inputs:
            if first := self._next(needed):
                return [*undone, *first]
        stage.reads = now
        return [*undone, self._run(number, stage)]

    def _run(self, number: int, stage: _Stage) -> Run | Fail:
        chunks = tuple(stage.missing)
        stage.tries.update(chunks)
        if max(stage.tries[chunk] for chunk in chunks) > _TRIES:
            return Fail(self._given_up(number, chunks))
        inputs = {needed: self._shares(needed) for needed in stage.inputs}
        return Run(number, chunks, inputs, frozenset(self._losses))

    def _shares(self, stage: int) -> tuple[Share, ...]:
        batches: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for done in self._stages[stage].done:
            batches[done.worker, done.attempt].append(done.batch)
        return tuple(Share(*of, tuple(each)) for of, each in batches.items())

    def _unlike(self, number: int) -> ClusterError:
        return SpoolLost(
            f"stage {number} has read some of the rows that were lost; sums of floats "
            "that are made again may differ in their last bits, so that the rest would "
            f"not fit to it: send the query again; {self._said()}"
        )

    def _said(self) -> str:
        return "; ".join(f"worker {w}: {e.text}" for w, e in self._losses.items())

    def _given_up(self, number: int, chunks: Iterable[int]) -> ClusterError:
        count = len(tuple(chunks))
        return SpoolLost(
            f"{count} part{'s' if count > 1 else ''} of stage {number} ran {_TRIES} "
            f"times, and rows that workers kept for it were lost each time; "
            f"{self._said()}"
        )
