"""The dispatch of a query, told by text files: events in, actions out."""

import numpy as np
import pytest
from golden import runner
from hypothesis import given
from hypothesis import strategies as st

from qserv import errors
from qserv.czar import dispatch as d


def actions_of(machine, case):
    match case.command:
        case "start":
            event = start(case)
        case "batch":
            event = d.BatchDone(number(case, "attempt"), 0, chunks(case))
        case "ended":
            event = d.TaskEnded(number(case, "attempt"))
        case "failed":
            kind = getattr(errors, case.flags[0])
            error = kind(case.text or "why")
            if "chunks" in case.arguments:
                error.chunks = tuple(chunks(case))
            event = d.AttemptFailed(number(case, "attempt"), error)
        case "lost":
            event = d.WorkerLost(case.flags[0], errors.WorkerUnavailable("silent"))
        case "stop":
            event = d.Stop()
    return "\n".join(text(action) for action in machine.handle(event))


def number(case, name):
    return int(case.arguments[name])


def chunks(case):
    return [int(chunk) for chunk in case.arguments["chunks"].split(",")]


def start(case):
    """Read lines of ``chunk on w1,w2`` or ``chunk of 100 bytes on w1,w2``."""
    work, replicas = {}, {}
    for line in case.text.splitlines():
        chunk, *size, workers = (
            line.replace(" on ", " ").replace(" of ", " ").split(" ")
        )
        work[int(chunk)] = int(size[0]) if size else 1
        replicas[int(chunk)] = tuple(w for w in workers.split(",") if w != "nobody")
    return d.Start(
        chunks=np.array(list(work), np.int64),
        work=np.array(list(work.values()), np.int64),
        replicas=replicas,
        alive=case.arguments["alive"].split(","),
    )


def text(action):
    match action:
        case d.Send():
            listed = ",".join(map(str, action.chunks))
            return f"send {listed} to {action.worker} (attempt {action.attempt})"
        case d.Cancel():
            return f"cancel attempt {action.attempt}"
        case d.Accept():
            return f"accept a batch of attempt {action.attempt}"
        case d.SetAside():
            return f"set aside: {action.error}"
        case d.Fail():
            return f"fail {type(action.error).__name__}: {action.error}"
        case d.Finish():
            return "finish"


@pytest.mark.parametrize("path", runner.files("dispatch"), ids=lambda path: path.stem)
def test_golden(path, rewrite):
    machines = []

    def answer(case):
        if case.command == "start":
            machines.append(d.Dispatch())
        return actions_of(machines[-1], case)

    runner.check(path, answer, rewrite=rewrite)


@given(data=st.data(), replicas=st.integers(1, 3), count=st.integers(0, 12))
def test_whatever_happens_each_chunk_counts_once_or_the_query_fails(
    data, replicas, count
):
    workers = [f"w{i}" for i in range(4)]
    ids = list(range(4, 4 + count))
    order = st.permutations(workers)
    machine = d.Dispatch()
    todo = machine.handle(
        d.Start(
            chunks=np.array(ids, np.int64),
            work=np.ones(count, np.int64),
            replicas={chunk: tuple(data.draw(order)[:replicas]) for chunk in ids},
            alive=workers,
        )
    )
    running, counted = {}, []
    while True:
        for action in todo:
            match action:
                case d.Send():
                    running[action.attempt] = list(action.chunks)
                case d.Cancel():
                    del running[action.attempt]
                case d.Finish():
                    assert sorted(counted) == ids
                    return
                case d.Fail():
                    assert isinstance(action.error, errors.ClusterError)
                    return
        attempt = data.draw(st.sampled_from(sorted(running)))
        left = running[attempt]
        match data.draw(st.sampled_from(["batch", "end", "die", "refuse"])):
            case "batch" if left:
                done = [left.pop()]
                todo = machine.handle(d.BatchDone(attempt, 0, done))
                counted += done if d.Accept(attempt, 0) in todo else []
            case "refuse":
                del running[attempt]
                error = errors.ChunkMissing("gone")
                todo = machine.handle(d.AttemptFailed(attempt, error))
            case "die":
                del running[attempt]
                error = errors.WorkerUnavailable("dead")
                todo = machine.handle(d.AttemptFailed(attempt, error))
            case _:
                del running[attempt]
                todo = machine.handle(d.TaskEnded(attempt))
