"""The process that runs DuckDB dies, its worker does not: the answer is whole."""

import os
import signal
from pathlib import Path

import pytest
from support.processes import until

import qserv
from qserv.czar import dispatch
from qserv.errors import ExecutorDied

QUERY = "SELECT objectId, ra, dec FROM sky.Object"


@pytest.fixture
def single(sky, tmp_path):
    """Start one worker, which has the only copy of everything."""
    with qserv.LocalCluster(1, tmp_path) as db:
        sky.load(db)
        yield db


def executors_of(worker):
    """Return the process ids of a worker's executors."""
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [int(pid) for pid, name in names.items() if b"spawn_main" in name]


def test_its_worker_is_asked_again(single, sky):
    worker = single.cluster.processes["worker-1"]
    before = executors_of(worker)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    rows = (
        single.query(QUERY, timeout=30).to_pandas().itertuples(index=False, name=None)
    )
    assert sorted(rows) == sorted(sky.answer(QUERY))
    assert single.cluster.processes["worker-1"] == worker
    until(lambda: executors_of(worker))
    assert set(executors_of(worker)).isdisjoint(before)


def test_without_another_try_the_query_would_fail():
    machine = dispatch.Dispatch()
    import numpy as np

    start = dispatch.Start(np.array([7]), np.array([1]), {7: ("w1",)}, ["w1"])
    machine.handle(start)
    machine._deaths[7, "w1"] = dispatch._DEATHS - 1
    (fail,) = machine.handle(dispatch.AttemptFailed(1, ExecutorDied("it died")))
    assert isinstance(fail.error, ExecutorDied)
