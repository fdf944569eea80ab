"""Loads over the wire: what a loader says and hears, message by message."""

from contextlib import closing

import pytest
from support import fake_worker, metadata
from support.czarloads import ROWS, TABLES
from support.czarloads import files as held_files

from qserv.catalog.store import Store
from qserv.czar.installation import Installation
from qserv.czar.loads import Loads
from qserv.czar.members import Members
from qserv.errors import Superseded
from qserv.faces.rpc import loads as convert
from qserv.faces.rpc.loadcalls import LoadCalls
from qserv.wire.messages import entry_to_proto, table_to_proto
from qserv.wire.v1 import czar_pb2 as pb

SHA = b"\xab" * 32


class Clock:
    """A clock that stands still until a test moves it."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def members(tmp_path, clock):
    with closing(Store.open(tmp_path)) as store:
        members = Members(store=store, dead_after=4.0, clock=clock)
        async with fake_worker.joined(members, *metadata.WORKERS):
            yield members
        await members.close()


@pytest.fixture
async def calls(members, clock):
    store = members._store
    loads = Loads(
        store=store,
        members=members,
        installation=Installation(store=store, members=members),
        replicas=2,
        lease=30,
        clock=clock,
    )

    class Calls(LoadCalls):
        """The calls of loads alone."""

    Calls.__abstractmethods__ = frozenset()
    yield Calls(loads=loads, members=members)
    await loads.close()


def beginning(**changes):
    asked = {
        "release": "hip",
        "tables": map(table_to_proto, TABLES),
        "who": "ann",
        "fingerprint": "f",
        "inputs": [pb.InputFile(table="Object", source="o.csv", sha256=SHA)],
    }
    return pb.BeginRequest(**asked | changes)


async def pages(replies):
    return [reply async for reply in replies]


async def test_a_load_from_its_beginning_to_its_history(calls, clock):
    begun = await calls.Begin(beginning(), None)
    number = begun.transaction
    assert (begun.attempt, begun.lease, list(begun.tree)) == (1, 30, [])
    assert [known.number for known in begun.inputs] == [1]

    tree = metadata.TREE.chunks.tolist()
    asked = pb.PlaceRequest(transaction=number, tree=tree, index_shards=1, attempt=1)
    placed = await calls.Place(asked, None)
    assert await calls.Place(asked, None) == placed
    assert [len(each.workers) for each in placed.chunks] == [2] * len(tree)
    where = calls._loads.registry.open[number].placed
    files = [
        pb.StagedFile(
            table=file.table,
            entry=entry_to_proto(file.entry),
            worker_ids=sorted(file.workers),
        )
        for file in held_files(number, where)
    ]
    read = pb.Contribution(
        table="Object", source="o.csv", sha256=SHA, rows=20, rejected=1, number=1
    )
    told = pb.ContributeRequest(transaction=number, contributions=[read], files=files)
    await calls.Contribute(told, None)
    await calls.Keep(
        pb.KeepRequest(
            transaction=number,
            phase="sending",
            table="Object",
            rows=10,
            total_rows=20,
            seconds=5,
        ),
        None,
    )
    (under_way,) = convert.under_way(calls._loads)
    assert (under_way.rate, under_way.left, under_way.files) == (2, 5, len(files))

    waiting = await calls.Begin(beginning(), None)
    assert (waiting.transaction, waiting.wait) == ("", 30)
    clock.now += 31
    resumed = await calls.Begin(beginning(), None)
    assert (resumed.attempt, resumed.resumed, resumed.placed) == (2, True, True)
    assert list(resumed.tree) == tree
    staged = pb.StagedRequest(transaction=number, attempt=2)
    (page,) = await pages(calls.Staged(staged, None))
    assert {f.entry.path for f in page.files} == {f.entry.path for f in files}
    with pytest.raises(Superseded):
        await calls.Commit(pb.CommitRequest(transaction=number, rows=ROWS), None)
    asked = pb.CommitRequest(transaction=number, rows=ROWS, attempt=2)
    assert (await calls.Commit(asked, None)).snapshot == 1

    listed, brought = await pages(
        calls.ListLoads(pb.ListLoadsRequest(load=number), None)
    )
    assert (listed.loads[0].state, listed.loads[0].snapshot) == ("committed", 1)
    assert (listed.loads[0].rejected, listed.loads[0].who) == (1, "ann")
    assert brought.contributions[0] == read
    again = await calls.Begin(beginning(), None)
    assert (again.transaction, again.snapshot) == ("", 1)
    assert again.inputs[0].load == number


async def test_nothing_begins_in_a_rehearsal(calls):
    begun = await calls.Begin(beginning(dry_run=True), None)
    assert (begun.transaction, begun.leaf_rows) == ("", 1_000_000)
    assert convert.under_way(calls._loads) == []
