"""A czar's rooms over real metadata, real gRPC and fake workers."""

from contextlib import closing

import numpy as np
import pytest
from support import fake_worker, metadata
from support.fake_planning import Planning
from support.naming import Reading

from qserv.catalog.store import Store
from qserv.czar.admission import Admission, Limits
from qserv.czar.dispatch import Start
from qserv.czar.executive import Executive, Job
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.czar.merge import Merge
from qserv.czar.preparation import Preparation
from qserv.czar.queries import Queries
from qserv.czar.session import Session
from qserv.czar.system import System
from qserv.czar.views import Views
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
def store(tmp_path, metadata_place):
    with closing(Store.open(tmp_path / "czar", metadata_place)) as opened:
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
def installation(store, members):
    return Installation(store=store, members=members)


@pytest.fixture
def copies():
    return 1


@pytest.fixture
async def loads(store, members, workers, installation, clock, copies):
    made = Loads(
        store=store,
        members=members,
        installation=installation,
        replicas=copies,
        lease=30,
        clock=clock,
    )
    yield made
    await made.close()


@pytest.fixture
async def views(store, loads):
    made = Views(store=store, planning=Reading(), loads=loads)
    yield made
    await made.close()


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


@pytest.fixture
def planning():
    return Planning()


@pytest.fixture
def timeout():
    return 60.0


@pytest.fixture
def replicas():
    return 1


@pytest.fixture
def broadcast_memory():
    return 2**20


@pytest.fixture
def limits():
    return Limits(interactive=4, scans=2, waiting=1)


@pytest.fixture
def system_memory():
    return 2**28


@pytest.fixture
async def session(
    store,
    members,
    workers,
    executive,
    planning,
    tmp_path,
    timeout,
    broadcast_memory,
    replicas,
    limits,
    system_memory,
):
    metadata.publish(store, layout=metadata.family(replicas=replicas))
    merge = Merge(directory=tmp_path / "spill", threads=1, memory=2**28, spill=2**28)
    with closing(merge):
        yield Session(
            preparation=Preparation(
                store=store, members=members, planning=planning, max_rows=None
            ),
            members=members,
            executive=executive,
            merge=merge,
            system=System(store=store, memory=system_memory),
            queries=Queries(timeout=timeout),
            epoch=1,
            broadcast_memory=broadcast_memory,
            admission=Admission(limits),
            max_result_bytes=10_000,
        )
