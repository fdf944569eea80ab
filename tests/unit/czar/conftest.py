"""A czar's rooms over real metadata, real gRPC and fake workers."""

from contextlib import closing

import numpy as np
import pytest
from support import fake_worker

from qserv.catalog.store import Store
from qserv.czar.dispatch import Start
from qserv.czar.executive import Executive, Job
from qserv.czar.members import Members
from qserv.wire.v1 import worker_pb2


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    with closing(Store.open(tmp_path / "czar")) as opened:
        yield opened


@pytest.fixture
async def members(store, clock):
    found = Members(store=store, dead_after=4.0, clock=clock)
    yield found
    await found.close()


@pytest.fixture
async def workers(members):
    async with fake_worker.joined(members, "w1", "w2", "w3") as joined:
        yield joined


@pytest.fixture
def executive(members):
    return Executive(members=members)


@pytest.fixture
def job():
    return Job(worker_pb2.Task(query_id="q", sql="…"), fake_worker.SCHEMA)


@pytest.fixture
def start(members, workers):
    def make(replicas):
        chunks = np.array(list(replicas), np.int64)
        return Start(
            chunks=chunks,
            work=np.ones_like(chunks),
            replicas=replicas,
            alive=members.alive.keys(),
        )

    return make
