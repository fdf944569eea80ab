"""The scheduler's decisions, told by text files: events in, starts out."""

import pytest
from golden import runner
from hypothesis import given
from hypothesis import strategies as st

from qserv.plan.plan import ScanClass
from qserv.worker.scheduler import Scheduler, WorkItem, batches


class Machine:
    """A scheduler whose tasks have names."""

    def __init__(self):
        self.scheduler = Scheduler(1)
        self.names = []

    def answer(self, case):
        match case.command:
            case "batches":
                return "\n".join(cut(case))
            case "executors":
                self.scheduler = Scheduler(int(case.flags[0]))
                return ""
            case "submit":
                return self.starts(self.submit(case))
            case "offer":
                name, batch = case.flags
                return self.starts(
                    self.scheduler.offer(self.names.index(name), int(batch))
                )
            case "finished":
                return self.starts(self.scheduler.finished(int(case.flags[0])))
            case "withdraw":
                stopped = self.scheduler.withdraw(self.names.index(case.flags[0]))
                return "\n".join(f"interrupt {executor}" for executor in stopped)
            case "counts":
                running, waiting = self.scheduler.running, self.scheduler.waiting
                return f"running {running} waiting {waiting}"

    def submit(self, case):
        name, *interactive = case.flags
        self.names.append(name)
        return self.scheduler.submit(
            len(self.names) - 1,
            int(case.arguments["batches"]),
            ScanClass.INTERACTIVE if interactive else ScanClass.SCAN,
        )

    def starts(self, starts):
        return "\n".join(
            f"start {self.names[s.task]}/{s.batch} on {s.executor}" for s in starts
        )


def cut(case):
    lines = [line.split() for line in case.text.splitlines()]
    items = [WorkItem(int(chunk), -1, int(work)) for chunk, work in lines]
    limits = int(case.arguments["bytes"]), int(case.arguments["chunks"])
    for batch in batches(items, *limits):
        yield " ".join(str(item.chunk) for item in batch)


@pytest.mark.parametrize("path", runner.files("scheduler"), ids=lambda path: path.stem)
def test_golden(path, rewrite):
    runner.check(path, Machine().answer, rewrite=rewrite)


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(ScanClass)), max_size=6),
    st.data(),
)
def test_every_batch_of_every_task_runs_once_on_a_free_executor(count, tasks, data):
    scheduler, busy, ran = Scheduler(count), {}, []

    def take(starts):
        for start in starts:
            assert start.executor not in busy
            busy[start.executor] = start
            ran.append((start.task, start.batch))
        assert len(busy) == scheduler.running
        assert len(busy) == count or scheduler.waiting == 0

    for number, (size, scan_class) in enumerate(tasks):
        take(scheduler.submit(number, size, scan_class))
    while busy:
        executor = data.draw(st.sampled_from(sorted(busy)))
        del busy[executor]
        take(scheduler.finished(executor))
    wanted = [(n, b) for n, (size, _) in enumerate(tasks) for b in range(size)]
    assert sorted(ran) == wanted
