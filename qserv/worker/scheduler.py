"""Which batch runs where and when: pure, events in, starts out.

A batch is a run of neighbouring chunks that one DuckDB query answers. Interactive
batches go before those of scans; tasks of one class share the executors fairly. Which
waiting batch is next is decided in `Scheduler._next` alone: there, scans of one table
will be made to move over its chunks together (a convoy), so that storage is read once.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from qserv.plan.plan import ScanClass


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One chunk of a task.

    Parameters
    ----------
    chunk
        Its id.
    part
        -1 for all its files.
    work
        Bytes to read.
    """

    chunk: int
    part: int
    work: int


@dataclass(frozen=True, slots=True)
class Start:
    """An order: run a batch of a task on an executor that is free."""

    task: int
    batch: int
    executor: int


def batches(
    items: Iterable[WorkItem], batch_bytes: int, batch_chunks: int
) -> list[tuple[WorkItem, ...]]:
    """Cut a task's work into batches of neighbouring chunks.

    Parameters
    ----------
    items
        Sorted by sky.
    batch_bytes
        Bytes to read that a batch has at most, unless one chunk alone has more.
    batch_chunks
        Chunks that a batch has at most.

    Returns
    -------
    list
        Batches in order; each item is in exactly one.
    """
    made: list[tuple[WorkItem, ...]] = []
    batch: list[WorkItem] = []
    size = 0
    for item in items:
        full = len(batch) >= batch_chunks or size + item.work > batch_bytes
        if batch and full:
            made.append(tuple(batch))
            batch, size = [], 0
        batch.append(item)
        size += item.work
    return [*made, tuple(batch)] if batch else made


@dataclass(slots=True)
class _Task:
    number: int
    scan_class: ScanClass
    waiting: deque[int]
    running: set[int] = field(default_factory=set)
    last_start: int = 0


class Scheduler:
    """Decides what runs next; keeps no clock and starts nothing itself.

    Parameters
    ----------
    executors
        How many batches may run at a time; they are numbered from 0.
    """

    def __init__(self, executors: int) -> None:
        self._free = list(range(executors))
        self._tasks: dict[int, _Task] = {}
        self._busy: dict[int, tuple[int, int]] = {}
        self._starts = 0

    @property
    def running(self) -> int:
        """How many batches run."""
        return len(self._busy)

    @property
    def waiting(self) -> int:
        """How many batches wait."""
        return sum(len(task.waiting) for task in self._tasks.values())

    def submit(self, task: int, batches: int, scan_class: ScanClass) -> list[Start]:
        """Take in a task with batches 0, 1, …; returns what starts now.

        The task is known until it is withdrawn.

        Parameters
        ----------
        task
            A number that no other task has.
        batches
            How many it has.
        scan_class
            Interactive tasks go first.
        """
        self._tasks[task] = _Task(task, scan_class, deque(range(batches)))
        return list(self._fill())

    def offer(self, task: int, batch: int) -> list[Start]:
        """Add a batch to a task that was taken in; returns what starts now."""
        if known := self._tasks.get(task):
            known.waiting.append(batch)
        return list(self._fill())

    def finished(self, executor: int) -> list[Start]:
        """Take note that an executor is free again; returns what starts now."""
        number, batch = self._busy.pop(executor)
        self._free.append(executor)
        if task := self._tasks.get(number):
            task.running.discard(batch)
        return list(self._fill())

    def withdraw(self, task: int) -> list[int]:
        """Forget a task's waiting batches; returns executors that run one of it."""
        self._tasks.pop(task, None)
        return sorted(e for e, (number, _) in self._busy.items() if number == task)

    def _fill(self) -> Iterator[Start]:
        while self._free and (task := self._next(list(self._tasks.values()))):
            executor = self._free.pop(0)
            batch = task.waiting.popleft()
            self._starts += 1
            task.last_start = self._starts
            task.running.add(batch)
            self._busy[executor] = (task.number, batch)
            yield Start(task.number, batch, executor)

    @staticmethod
    def _next(tasks: Sequence[_Task]) -> _Task | None:
        """Return the task whose first waiting batch is next."""
        waiting = [task for task in tasks if task.waiting]
        return min(waiting, key=_precedence, default=None)


def _precedence(task: _Task) -> tuple[bool, int, int, int]:
    return (
        task.scan_class is not ScanClass.INTERACTIVE,
        len(task.running),
        task.last_start,
        task.number,
    )
