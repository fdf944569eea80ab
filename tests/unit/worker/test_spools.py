"""Rows that stay on workers in buckets: equal keys meet, and each row comes once."""

import grpc
import numpy as np
import pyarrow as pa
import pytest
from support import worker as w
from support.spooling import (
    BUCKETS,
    CHUNKS,
    COUNT,
    ID,
    MAG,
    NAME,
    PAIRS,
    SOURCE,
    everything,
)

from qserv.catalog.tables import Column, DataType
from qserv.errors import InvalidRequest, SpoolLost
from qserv.wire.v1 import worker_pb2
from qserv.worker import buckets
from qserv.worker.arrowfile import load

T = DataType
together = pytest.mark.asyncio(loop_scope="module")


@together
async def test_every_row_comes_back_once(workers, query):
    made, rows = await query.spool(1)
    wanted = everything()
    assert rows == wanted.num_rows
    answer = await query.read(
        workers[0],
        'SELECT "objectId", "mag", "name" FROM stage_1',
        (ID, MAG, NAME),
        {1: (made, (ID, MAG, NAME))},
    )
    assert answer.batches == [[b] for b in range(BUCKETS)]
    found = pa.Table.from_batches(answer.rows).sort_by("objectId")
    assert found["objectId"].to_pylist() == sorted(wanted["objectId"].to_pylist())
    by_id = dict(
        zip(*(wanted[c].to_pylist() for c in ("objectId", "name")), strict=True)
    )
    assert all(by_id[row["objectId"]] == row["name"] for row in found.to_pylist())


@together
async def test_equal_keys_of_other_types_meet_in_one_bucket(workers, query):
    whole = Column("k", T.INTEGER)
    made = {
        1: (whole, '("objectId" % 50)::INTEGER'),
        2: (Column("k", T.BIGINT), '("objectId" % 60)::BIGINT'),
        3: (Column("k", T.DOUBLE), '("objectId" % 70)::DOUBLE'),
        4: (
            Column("k", T.REAL),
            "CASE WHEN \"objectId\" % 2 = 0 THEN '-0.0' ELSE '3' END::FLOAT",
        ),
        5: (Column("k", T.HUGEINT), '("objectId" % 40)::HUGEINT'),
        6: (Column("k", T.SMALLINT), 'nullif("objectId" % 2, 0)::SMALLINT'),
    }
    spooled = {
        stage: (
            (
                await query.spool(
                    stage, f"SELECT {sql} AS k FROM {SOURCE}", (column,), ("k",)
                )
            )[0],
            (column,),
        )
        for stage, (column, sql) in made.items()
    }
    ids = everything()["objectId"].to_numpy()
    values = {
        1: ids % 50,
        2: ids % 60,
        3: ids % 70,
        4: np.where(ids % 2 == 0, 0, 3),
        5: ids % 40,
        6: np.where(ids % 2, 1, -1),
    }
    for one, other in ((1, 2), (1, 3), (2, 4), (3, 5), (5, 1), (6, 2), (6, 6)):
        wanted = pairs(values[one], values[other], null=-1)
        answer = await query.read(
            workers[1],
            f"SELECT count(*) AS n FROM stage_{one} a JOIN stage_{other} b "
            "ON a.k = b.k",
            (COUNT,),
            {one: spooled[one], other: spooled[other]},
        )
        assert sum(answer.column("n")) == wanted
    nulls = await query.read(
        workers[2],
        "SELECT count(*) AS n FROM stage_6 WHERE k IS NULL",
        (COUNT,),
        {6: spooled[6]},
    )
    assert sum(n > 0 for n in nulls.column("n")) == 1
    assert sum(nulls.column("n")) == int(np.sum(ids % 2 == 0))


def pairs(one, other, null):
    counts = [
        dict(zip(*np.unique(v, return_counts=True), strict=True)) for v in (one, other)
    ]
    return sum(
        int(n) * int(counts[1].get(k, 0)) for k, n in counts[0].items() if k != null
    )


@together
async def test_several_columns_make_a_key_and_buckets_are_even(workers, query):
    made, _ = await query.spool(1, keys=("name", "objectId"))
    answer = await query.read(
        workers[0],
        "SELECT count(*) AS n FROM stage_1",
        (COUNT,),
        {1: (made, (ID, MAG, NAME))},
    )
    mean = everything().num_rows / BUCKETS
    assert all(0.7 * mean < n < 1.4 * mean for n in answer.column("n"))


@together
async def test_a_bucket_without_rows_is_typed_nothing(workers, query):
    made, _ = await query.spool(
        1, f"SELECT 1::BIGINT AS n FROM {SOURCE}", (COUNT,), ("n",)
    )
    none, rows = await query.spool(
        2, f"SELECT 1::BIGINT AS n FROM {SOURCE} WHERE false", (COUNT,), ("n",)
    )
    assert rows == 0
    answer = await query.read(
        workers[0],
        "SELECT (SELECT count(*) FROM stage_1) + (SELECT count(n) FROM stage_2) AS n",
        (COUNT,),
        {1: (made, (COUNT,)), 2: (none, (COUNT,))},
    )
    assert sorted(answer.column("n")) == [0] * (BUCKETS - 1) + [everything().num_rows]


@together
async def test_batches_that_were_not_accepted_are_not_read(workers, query):
    made, _ = await query.spool(1)
    first = made[0].batches[0]
    made[0].batches[:] = [first]
    answer = await query.read(
        workers[1],
        "SELECT count(*) AS n FROM stage_1",
        (COUNT,),
        {1: (made[:1], (ID, MAG, NAME))},
    )
    assert sum(answer.column("n")) == sum(100 + c for c in CHUNKS[0::3][:2])


@together
async def test_unknown_batches_and_columns_are_refused(workers, query):
    made, _ = await query.spool(1)
    made[0].batches.append(77)
    sql = "SELECT count(*) AS n FROM stage_1"
    for reader in workers[:2]:
        with pytest.raises(grpc.RpcError) as told:
            await query.read(reader, sql, (COUNT,), {1: (made, (ID, MAG, NAME))})
        error = w.from_rpc(told.value, "w")
        assert (type(error), error.worker_id) == (SpoolLost, "w0")
    for spool in (
        worker_pb2.Spool(keys=["nothing"], buckets=4),
        worker_pb2.Spool(keys=[], buckets=4),
        worker_pb2.Spool(keys=["mag"], buckets=0),
        worker_pb2.Spool(keys=["mag"], buckets=2**20),
    ):
        await workers[0].refuses(
            InvalidRequest, "", PAIRS, CHUNKS[0::3], (ID, MAG, NAME), spool=spool
        )


@together
async def test_what_is_spooled_can_be_spooled_again(workers, query):
    made, _ = await query.spool(1)
    again = await query.read(
        workers[2],
        'SELECT "objectId" FROM stage_1',
        (ID,),
        {1: (made, (ID, MAG, NAME))},
        attempt=50,
        stage=2,
        spool=worker_pb2.Spool(keys=["objectId"], buckets=BUCKETS),
    )
    share = worker_pb2.SpoolShare(
        peer=made[2].peer, attempt=50, batches=[end.batch for end in again.ends]
    )
    answer = await query.read(
        workers[0], "SELECT count(*) AS n FROM stage_2", (COUNT,), {2: ([share], (ID,))}
    )
    assert sum(answer.column("n")) == everything().num_rows


def test_a_writer_keeps_every_row_whatever_comes(tmp_path):
    schema = pa.schema({"k": pa.int64(), "s": pa.string(), "bucket": pa.uint16()})
    rng = np.random.default_rng(5)
    batches = []
    for rows in (0, 1, 5, 100_000, 3):
        numbers = rng.integers(0, 300, rows)
        texts = [None if n % 7 == 0 else "x" * (n % 30) for n in numbers.tolist()]
        columns = [pa.array(numbers), pa.array(texts, pa.string())]
        columns.append(pa.array(numbers % 300, pa.uint16()))
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    with buckets.Writer(str(tmp_path / "b-"), 10**9) as writer:
        for rows in batches:
            writer.add(rows)
            writer._flush()
        kept = writer.end()
    assert sum(each.rows for each in kept) == 100_009
    for each in kept:
        path = tmp_path / f"b-{each.bucket}"
        found = load([str(path)], schema.remove(2))
        assert path.stat().st_size == each.size
        assert found.num_rows == each.rows
        assert set(found["k"].to_pylist()) == {each.bucket}
        assert all(
            s == (None if k % 7 == 0 else "x" * (k % 30))
            for k, s in zip(found["k"].to_pylist(), found["s"].to_pylist(), strict=True)
        )
