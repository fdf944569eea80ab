"""The exchange of a query: spools that are lost are made again, told by text files."""

from collections import Counter

import pytest
from golden import runner
from hypothesis import given, settings
from hypothesis import strategies as st

from qserv.czar import exchange as e
from qserv.errors import SpoolLost


def answer_of(machine, case):
    match case.command:
        case "begin":
            event = e.Begin(
                int(case.flags[0]),
                numbers(case, "chunks"),
                "spools" in case.flags or "unsteady" in case.flags,
                numbers(case, "inputs"),
                "unsteady" not in case.flags,
            )
        case "done":
            stage, worker = case.flags
            attempt, batch = numbers(case, "attempt") + numbers(case, "batch")
            event = e.Done(int(stage), worker, attempt, batch, numbers(case, "chunks"))
        case "lost":
            event = e.Lost(case.flags[0], SpoolLost("no file"))
        case "ended":
            event = e.Ended()
    return "\n".join(text(action) for action in machine.handle(event))


def numbers(case, name):
    listed = case.arguments.get(name, "")
    return tuple(int(number) for number in listed.split(",") if number)


def shared(stage, shares):
    kept = [f"{s.worker} {s.attempt}:{listed(s.batches)}" for s in shares]
    return f"\n  reading stage {stage} from {'; '.join(kept) or 'nowhere'}"


def listed(chunks):
    return ",".join(map(str, chunks))


def text(action):
    match action:
        case e.Run():
            avoid = f", not by {','.join(sorted(action.avoid))}" if action.avoid else ""
            reads = "".join(shared(*each) for each in action.inputs.items())
            return f"run {listed(action.chunks)} of stage {action.stage}{avoid}{reads}"
        case e.Undo():
            return f"undo {listed(action.chunks)} of stage {action.stage}"
        case e.Fail():
            return f"fail {type(action.error).__name__}: {action.error}"
        case e.Finish():
            return "finish"


@pytest.mark.parametrize("path", runner.files("exchange"), ids=lambda path: path.stem)
def test_golden(path, rewrite):
    machines = []

    def answer(case):
        if case.command == "new":
            machines.append(e.Exchange())
            return ""
        return answer_of(machines[-1], case)

    runner.check(path, answer, rewrite=rewrite)


class Simulation:
    """Workers that spool, read and forget as it happens; stage k + 1 reads stage k."""

    def __init__(self, data, stages):
        self.data = data
        self.last = stages - 1
        self.machine = e.Exchange()
        self.attempts = 0
        self.kept = {}
        self.read = Counter()
        self.wavers = [data.draw(st.booleans()) for _ in range(stages)]
        self.made_of = {}
        self.last_of = {}

    def run(self, stage):
        """Run one stage; return the error that ends the query, if one does."""
        spools, inputs = stage < self.last, (stage - 1,) if stage else ()
        steady = not self.wavers[stage]
        event = e.Begin(stage, tuple(range(4)), spools, inputs, steady)
        while True:
            *_, action = self.machine.handle(event)
            if not isinstance(action, e.Run):
                return action
            for chunk in action.chunks:
                self.one(action.stage, chunk, action.inputs.get(action.stage - 1, ()))
            event = e.Ended()

    def one(self, stage, chunk, shares):
        worker = self.data.draw(st.sampled_from("abc"))
        if self.data.draw(st.booleans()):
            self.forget(self.data.draw(st.sampled_from("abc")))
        if stage:
            if gone := [s for s in shares if (s.worker, s.attempt) not in self.kept]:
                self.machine.handle(e.Lost(gone[0].worker, SpoolLost("gone")))
                return
            there = [self.kept[share.worker, share.attempt] for share in shares]
            assert sorted(there) == [0, 1, 2, 3], (
                "a bucket lacks rows, or has them twice"
            )
            self.fits(stage - 1, [share.attempt for share in shares])
        self.attempts += 1
        self.made_of[self.attempts] = {share.attempt for share in shares}
        self.last_of[stage, chunk] = self.attempts
        self.kept[worker, self.attempts] = chunk
        self.read[stage, chunk] += 1
        self.machine.handle(e.Done(stage, worker, self.attempts, 0, (chunk,)))

    def fits(self, stage, attempts):
        """Check that parts of a stage were made of the same rows, if these waver."""
        if stage and self.wavers[stage - 1]:
            first, *others = (self.made_of[attempt] for attempt in attempts)
            assert all(other == first for other in others), "a key is read twice"

    def forget(self, worker):
        self.kept = {of: chunk for of, chunk in self.kept.items() if of[0] != worker}
        if self.data.draw(st.booleans()):
            self.machine.handle(e.Lost(worker, SpoolLost("restarted")))


@settings(max_examples=40)
@given(data=st.data(), stages=st.integers(1, 3))
def test_whatever_is_lost_each_bucket_reads_all_rows_once_or_the_query_fails(
    data, stages
):
    simulation = Simulation(data, stages)
    for stage in range(stages):
        if isinstance(simulation.run(stage), e.Fail):
            return
    last = stages - 1
    assert [simulation.read[last, chunk] for chunk in range(4)] == [1] * 4
    simulation.fits(last, [simulation.last_of[last, chunk] for chunk in range(4)])
