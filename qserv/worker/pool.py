"""Jobs in progress: what the scheduler decides, done on the executors."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from qserv.plan.plan import ScanClass
from qserv.telemetry import logger
from qserv.worker.engine import Batch
from qserv.worker.executors import Executor
from qserv.worker.process import Done
from qserv.worker.scheduler import Scheduler, Start

__all__ = ["Event", "Job", "Pool"]

_MESSAGES: Final = 4

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """A message of a batch, what the batch came to, or why it failed."""

    batch: int
    content: bytes | Done | Exception


@dataclass(frozen=True, slots=True)
class Job:
    """A task's batches.

    Parameters
    ----------
    batches
        How many.
    scan_class
        How they are scheduled.
    prepare
        Called with a batch's number when its turn has come.
    gather
        Called with each batch's number, in order, before the batch waits for an
        executor; None where batches need nothing from elsewhere.
    """

    batches: int
    scan_class: ScanClass
    prepare: Callable[[int], Awaitable[Batch]]
    gather: Callable[[int], Awaitable[None]] | None = None


class _Running:
    def __init__(self, job: Job) -> None:
        self.job = job
        # A reader that does not keep up holds the executors back.
        self.events: asyncio.Queue[Event] = asyncio.Queue(_MESSAGES)


class Pool:
    """The executors of one worker and the jobs that share them.

    Parameters
    ----------
    executors
        Not started yet.
    """

    def __init__(self, executors: Sequence[Executor]) -> None:
        self._executors = executors
        self._scheduler = Scheduler(len(executors))
        self._jobs: dict[int, _Running] = {}
        self._work_of: dict[int, asyncio.Task[None]] = {}
        self._recoveries: set[asyncio.Task[None]] = set()
        self._count = 0
        self._stopped = False
        self.broken = asyncio.Event()
        """Set when an executor could not be replaced: the worker must end."""

    @property
    def running(self) -> int:
        """How many batches run, those being stopped included."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """How many batches wait."""
        return self._scheduler.waiting

    async def start(self) -> None:
        """Start the executors; raises as `Executor.start`."""
        async with asyncio.TaskGroup() as group:
            for executor in self._executors:
                group.create_task(executor.start())

    async def stop(self) -> None:
        """End all jobs and executors."""
        self._stopped = True
        tasks = [*self._work_of.values(), *self._recoveries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for executor in self._executors:
            await executor.stop()

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Run a job; closing the generator stops what is left of it.

        Yields
        ------
        Event
            Of all batches, in order within each; a batch ends with its `Done` or with
            an error.
        """
        self._count += 1
        number, running = self._count, _Running(job)
        self._jobs[number] = running
        ready = 0 if job.gather else job.batches
        self._begin(self._scheduler.submit(number, ready, job.scan_class))
        gathering = (
            asyncio.create_task(self._gather(number, running)) if job.gather else None
        )
        left = job.batches
        try:
            while left:
                event = await running.events.get()
                left -= not isinstance(event.content, bytes)
                yield event
        finally:
            del self._jobs[number]
            if gathering:
                gathering.cancel()
            for executor in self._scheduler.withdraw(number):
                if task := self._work_of.get(executor):
                    task.cancel()

    async def _gather(self, number: int, running: _Running) -> None:
        gather = running.job.gather
        assert gather is not None, "only jobs with something to gather come here"
        for batch in range(running.job.batches):
            try:
                await gather(batch)
            except Exception as error:  # noqa: BLE001 whoever reads the events raises it
                await running.events.put(Event(batch, error))
                return
            self._begin(self._scheduler.offer(number, batch))

    def _begin(self, starts: Iterable[Start]) -> None:
        for start in starts:
            work = self._work(start, self._jobs[start.task])
            self._work_of[start.executor] = task = asyncio.create_task(work)
            task.add_done_callback(partial(self._ended, start.executor))

    async def _work(self, start: Start, running: _Running) -> None:
        try:
            batch = await running.job.prepare(start.batch)
            async with aclosing(self._executors[start.executor].run(batch)) as frames:
                async for content in frames:
                    await running.events.put(Event(start.batch, content))
        except Exception as error:  # noqa: BLE001 whoever reads the events raises it
            await running.events.put(Event(start.batch, error))

    def _ended(self, number: int, _: asyncio.Task[None]) -> None:
        # A callback runs also for work that was stopped before its first step.
        del self._work_of[number]
        if self._stopped:
            return
        if self._executors[number].idle:
            self._begin(self._scheduler.finished(number))
        else:
            task = asyncio.create_task(self._recover(number))
            self._recoveries.add(task)
            task.add_done_callback(self._recoveries.discard)

    async def _recover(self, number: int) -> None:
        try:
            await self._executors[number].settle()
        except Exception:  # noqa: BLE001 whatever it was, the worker is of no use
            _log.exception("cannot replace an executor")
            self.broken.set()
        else:
            self._begin(self._scheduler.finished(number))
