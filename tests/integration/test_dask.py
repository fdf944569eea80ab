"""A load runs on Dask as it runs here: the same files, whoever dies meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from support.fake_cluster import fake_cluster
from support.loads import FORCED, OBJECT, parquet

from qserv.errors import BadContribution, ClusterError
from qserv.ingest.bulk.execution import executor
from qserv.ingest.loader import Settings, load

DEADLINE = 60.0


@pytest.fixture
def dask(tmp_path):
    """A scheduler and two workers, each a process: its address, and the workers."""
    address = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    common = ["--scheduler-file", str(address)]
    scheduler = [*dask_command("scheduler"), "--host", "127.0.0.1", "--port", "0"]
    parts = [subprocess.Popen([*scheduler, "--no-dashboard", *common], **quiet)]
    wait_for(address.exists)
    worker = [*dask_command("worker"), "--no-dashboard", "--nthreads", "1", *common]
    worker += ["--local-directory", str(tmp_path), "--no-nanny"]
    parts += [subprocess.Popen(worker, **quiet) for _ in range(2)]
    try:
        yield f"tcp://{where(address)}", parts[1:]
    finally:
        for part in parts:
            part.kill()
            part.wait()


def dask_command(what):
    return [sys.executable, "-m", "dask", what]


def where(address: Path):
    from json import loads

    return loads(address.read_text())["address"].removeprefix("tcp://")


def wait_for(condition):
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        os.sched_yield()


@pytest.fixture
def inputs(tmp_path):
    rng = np.random.default_rng(5)
    ids, dec = np.arange(2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    for part in range(4):
        some = slice(part * 500, part * 500 + 500)
        parquet(
            tmp_path / f"o{part}.parquet",
            OBJECT,
            objectId=ids[some],
            ra=rng.uniform(0, 360, 500),
            dec=dec[some],
        )
    parquet(tmp_path / "f.parquet", FORCED, objectId=rng.integers(0, 2000, 9000))
    return {
        "Object": [tmp_path / "o?.parquet"],
        "ForcedSource": [tmp_path / "f.parquet"],
    }


def run(czar, inputs, **settings):
    chosen = Settings(leaf_rows=100, **settings)
    return load(czar.endpoint, "dr1", inputs, tables=(OBJECT, FORCED), settings=chosen)


def content(czar):
    return {path: file.entry.sha256 for path, file in czar.live.items()}


def test_dask_makes_the_same_files(dask, inputs, tmp_path):
    address, _ = dask
    with fake_cluster() as here:
        run(here, inputs, processes=0)
        expected = content(here)
    with fake_cluster() as czar:
        report = run(czar, inputs, dask=address, scratch=tmp_path / "shared")
        assert content(czar) == expected
        assert report.rows == {"Object": 2000, "ForcedSource": 9000}


def test_a_dask_worker_may_die(dask, inputs, tmp_path):
    address, workers = dask

    def kill(progress):
        if progress.phase == "sending" and workers[0].poll() is None:
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()

    with fake_cluster() as czar:
        chosen = Settings(leaf_rows=100, dask=address, scratch=tmp_path / "shared")
        report = load(
            czar.endpoint,
            "dr1",
            inputs,
            tables=(OBJECT, FORCED),
            settings=chosen,
            progress=kill,
        )
        assert workers[0].poll() is not None
        assert report.rows == {"Object": 2000, "ForcedSource": 9000}
        assert sum(f.entry.rows for f in czar.live.values() if f.entry.offset == 0) > 0


def test_an_error_on_dask_is_ours(dask, inputs, tmp_path):
    address, _ = dask
    parquet(tmp_path / "o9.parquet", OBJECT, objectId=[1], dec=[99])
    with fake_cluster() as czar:
        with pytest.raises(BadContribution, match=r"o9.parquet, row 1, column dec"):
            run(czar, inputs, dask=address, rejects=tmp_path / "r.csv")
        assert len(czar.aborted) == 1


def test_a_dask_worker_does_not_look_at_stacks_where_python_may_hang(dask, inputs):
    address, _ = dask

    def watched(dask_worker):
        return "profile" in dask_worker.periodic_callbacks

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2)
        assert set(client.run(watched).values()) == {True}
        with executor(size=0, dask=address):
            now = client.run(watched)
    assert list(now.values()) == [sys.version_info >= (3, 12)] * 2


def test_no_scheduler(inputs, monkeypatch):
    from qserv.ingest.bulk import ondask

    monkeypatch.setattr(ondask, "_CONNECT", 0.2)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127"):
        load(
            "127.0.0.1:1",
            "dr1",
            inputs,
            tables=(OBJECT, FORCED),
            settings=Settings(dask="tcp://127.0.0.1:1"),
        )
