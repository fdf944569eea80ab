"""Rows that come with a task: typed, seen by its batches alone, gone afterwards."""

import io
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pytest
from support import worker as w
from support.processes import descendants

from qserv.catalog.tables import Column, DataType
from qserv.errors import InternalError, InvalidRequest, LimitExceeded
from qserv.plan.plan import MARK
from qserv.wire.codec import arrow_schema
from qserv.wire.v1 import worker_pb2

T = DataType
A, B = 64, 65
ID = Column("objectId", T.BIGINT)
COUNT = Column("n", T.BIGINT)
SOURCE = f"{MARK}0{MARK}"
EVERY_TYPE = {
    "a": (T.BOOLEAN, [True, None, False]),
    "b": (T.SMALLINT, [-(2**15), None, 1]),
    "c": (T.INTEGER, [2**31 - 1, None, 1]),
    "d": (T.BIGINT, [2**63 - 1, None, -(2**63)]),
    "e": (T.REAL, [0.5, None, -1.0]),
    "f": (T.DOUBLE, [0.1, None, 1e308]),
    "g": (T.VARCHAR, ["é'\"", None, ""]),
    "h": (
        T.TIMESTAMP,
        [datetime(2021, 1, 1, 1, 1, 1, 1, UTC).replace(tzinfo=None), None, None],
    ),
    "i": (T.HUGEINT, [Decimal(10**37), None, Decimal(-1)]),
}


@pytest.fixture
async def worker(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3), B: w.rows_of(B, 2)})
        yield worker


def side_table(rows, name="stage_0"):
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    return worker_pb2.SideTable(name=name, arrow_stream=stream.getvalue())


def of_every_type():
    schema = arrow_schema([Column(n, t) for n, (t, _) in EVERY_TYPE.items()])
    return pa.table({n: values for n, (_, values) in EVERY_TYPE.items()}, schema)


@pytest.mark.parametrize(
    "scan_class", [worker_pb2.SCAN_CLASS_SCAN, worker_pb2.SCAN_CLASS_INTERACTIVE]
)
async def test_every_type_arrives_as_it_was(worker, scan_class):
    columns = [Column(n, t) for n, (t, _) in EVERY_TYPE.items()]
    for some in (columns, [c for c in columns if c.datatype is not T.TIMESTAMP]):
        names = ", ".join(f's."{c.name}"' for c in some)
        sql = f"SELECT {names} FROM stage_0 s, {SOURCE} LIMIT 3"
        answer = await worker.run(
            sql,
            [A],
            some,
            side_tables=[side_table(of_every_type())],
            scan_class=scan_class,
        )
        for column in some:
            values = EVERY_TYPE[column.name][1]
            assert answer.column(column.name) == values


@pytest.mark.parametrize(
    "scan_class", [worker_pb2.SCAN_CLASS_SCAN, worker_pb2.SCAN_CLASS_INTERACTIVE]
)
async def test_each_batch_joins_with_all_of_its_rows(worker, scan_class):
    wanted = [A * 1_000_000 + 1, B * 1_000_000, 7]
    sql = (
        f'SELECT a."objectId" FROM {SOURCE} a JOIN stage_3 s '
        'ON a."objectId" = s."objectId"'
    )
    rows = pa.table({"objectId": wanted})
    answer = await worker.run(
        sql,
        [A, B],
        [ID],
        side_tables=[side_table(rows, "stage_3")],
        batch_chunks=1,
        scan_class=scan_class,
        input_stages=[3],
    )
    assert sorted(answer.column("objectId")) == wanted[:2]
    assert answer.batches == [[A], [B]]


async def test_a_task_may_read_side_tables_alone(worker):
    rows = pa.table({"n": [1, 2, 3]})
    empty = rows.slice(0, 0)
    task = worker.task(
        "SELECT sum(n)::BIGINT AS n FROM (FROM stage_0 UNION ALL FROM stage_1)",
        [0],
        [COUNT],
        side_tables=[side_table(rows), side_table(empty, "stage_1")],
    )
    del task.sources[:]
    data = [f.data.record_batch async for f in w.frames_of(worker.stub.RunTask(task))]
    assert w.decode_batch(data[0], arrow_schema([COUNT])).to_pylist() == [{"n": 6}]


async def test_rows_of_one_task_are_unknown_to_the_next(worker):
    rows = pa.table({"n": list(range(1000))})
    sql = f"SELECT count(*) AS n FROM stage_0, (SELECT * FROM {SOURCE} LIMIT 1)"
    answer = await worker.run(sql, [A], [COUNT], side_tables=[side_table(rows)])
    assert answer.column("n") == [1000]
    text = await worker.refuses(InternalError, "stage_0", sql, [A], [COUNT])
    assert str(worker.directory) not in text
    assert [*(worker.directory / "spool").iterdir()] == []
    assert mapped_by_executors(worker.directory) == []


def mapped_by_executors(directory):
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in descendants(os.getpid())]
    spool = str(directory / "spool")
    return [line for text in maps for line in text.splitlines() if spool in line]


async def test_what_was_left_by_a_killed_worker_goes_at_the_start(tmp_path):
    left = tmp_path / "spool" / "1" / "stage_0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"rows")
    async with w.serving(tmp_path):
        assert not left.exists()


async def test_nonsense_is_refused(worker):
    bad = [
        (side_table(pa.table({"n": [1]}), 'x"; --'), "cannot name rows"),
        (side_table(pa.table({"n": [1]}), "../up"), "cannot name rows"),
        (worker_pb2.SideTable(name="s", arrow_stream=b"abc"), "unreadable"),
    ]
    for table, text in bad:
        sql = f'SELECT "objectId" FROM {SOURCE}'
        await worker.refuses(InvalidRequest, text, sql, [A], [ID], side_tables=[table])


async def test_rows_beyond_the_quota_are_refused(tmp_path):
    async with w.serving(tmp_path, spool_bytes=10_000) as worker:
        await worker.load(own={A: w.rows_of(A, 3)})
        sql = f'SELECT "objectId" FROM {SOURCE}'
        for count, fits in ((2000, False), (1000, True), (1000, True)):
            given = side_table(pa.table({"n": list(range(count))}))
            if fits:
                await worker.run(sql, [A], [ID], side_tables=[given])
            else:
                await worker.refuses(
                    LimitExceeded, "spool_bytes", sql, [A], [ID], side_tables=[given]
                )
