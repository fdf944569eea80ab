"""The merge: one query, of nobody else's rows, of no file, and stopped when told to."""

import asyncio
from contextlib import aclosing, closing

import pyarrow as pa
import pytest

from qserv.czar.merge import Merge
from qserv.errors import InternalError, InvalidValue, LimitExceeded
from qserv.plan.plan import Residual

NUMBERS = pa.schema([pa.field("x", pa.int64())])


@pytest.fixture
def merge(tmp_path):
    made = Merge(directory=tmp_path, threads=1, memory=100 * 2**20)
    with closing(made):
        yield made


def batch(*values):
    return pa.record_batch([pa.array(values, pa.int64())], schema=NUMBERS)


async def run(merge, sql, partials=(), schema=NUMBERS, result=NUMBERS):
    found = merge.rows(Residual(sql), partials, schema, result)
    async with aclosing(found) as messages:
        tables = [message.rows async for message in messages]
    return pa.Table.from_batches(tables, result)


async def test_one_query_over_all_batches_in_the_types_of_the_plan(merge):
    partials = [batch(3, 1), batch(), batch(2)]
    sql = "SELECT x::INTEGER FROM partials ORDER BY x"
    assert (await run(merge, sql, partials)).to_pydict() == {"x": [1, 2, 3]}


async def test_large_results_come_in_many_messages(merge):
    result = await run(merge, "SELECT range FROM range(3000000)", schema=None)
    assert result.num_rows == 3_000_000
    assert result["x"].num_chunks > 20
    assert result["x"][-1].as_py() == 2_999_999


async def test_queries_at_the_same_time_see_their_own_rows(merge):
    def one(number):
        return run(merge, "SELECT SUM(x)::BIGINT FROM partials", [batch(number)])

    results = await asyncio.gather(*(one(number) for number in range(20)))
    assert [r["x"][0].as_py() for r in results] == list(range(20))


async def test_rows_do_not_stay_for_the_next_query(merge):
    await run(merge, "SELECT * FROM partials", [batch(1)])
    with pytest.raises(InternalError, match="partials"):
        await run(merge, "SELECT * FROM partials", schema=None)


async def test_an_overflow_is_the_users(merge):
    with pytest.raises(InvalidValue, match="merge"):
        await run(merge, "SELECT 9223372036854775807 + x FROM partials", [batch(1)])
    with pytest.raises(InvalidValue, match="does not fit"):
        await run(merge, "SELECT 9223372036854775808::HUGEINT", schema=None)


async def test_what_does_not_fit_is_refused_with_the_remedy(merge):
    sql = "SELECT LENGTH(STRING_AGG(range::VARCHAR, '')) FROM range(100000000)"
    with pytest.raises(LimitExceeded, match="merge_memory"):
        await run(merge, sql, schema=None)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO 'x.csv'",
        "ATTACH 'x.db'",
        "SET memory_limit = '10GB'",
        "SELECT * FROM outside",
    ],
)
async def test_nothing_outside_is_reached(merge, sql):
    outside = pa.table({"x": [1]})
    with pytest.raises((InternalError, InvalidValue)):
        await run(merge, sql, schema=None)
    assert outside.num_rows == 1


async def test_a_cancelled_merge_is_interrupted_and_its_slot_serves_again(merge):
    forever = "SELECT COUNT(*) FROM range(10000000000) a, range(10000000000) b"
    for _ in range(6):  # more than there are slots
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run(merge, forever, schema=None)
    assert (await run(merge, "SELECT 1::BIGINT", schema=None)).num_rows == 1
