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
    made = Merge(directory=tmp_path, threads=1, memory=100 * 2**20, spill=2**30)
    with closing(made):
        yield made


def batch(*values):
    return pa.record_batch([pa.array(values, pa.int64())], schema=NUMBERS)


async def run(merge, sql, **inputs):
    """Run SQL over named lists of batches."""
    tables = {name: pa.Table.from_batches(b, NUMBERS) for name, b in inputs.items()}
    found = merge.rows(Residual(sql, (), ()), tables, NUMBERS)
    async with aclosing(found) as messages:
        tables = [message.rows async for message in messages]
    return pa.Table.from_batches(tables, NUMBERS)


async def test_one_query_over_all_batches_in_the_types_of_the_plan(merge):
    sql = "SELECT x::INTEGER FROM stage_0 ORDER BY x"
    result = await run(merge, sql, stage_0=[batch(3, 1), batch(), batch(2)])
    assert result.to_pydict() == {"x": [1, 2, 3]}


async def test_many_stages_are_read_by_their_names(merge):
    sql = "SELECT x FROM stage_0 WHERE x NOT IN (SELECT x FROM stage_2)"
    result = await run(merge, sql, stage_0=[batch(1, 2, 3)], stage_2=[batch(1, 3)])
    assert result.to_pydict() == {"x": [2]}


async def test_large_results_come_in_many_messages(merge):
    result = await run(merge, "SELECT range FROM range(3000000)")
    assert result.num_rows == 3_000_000
    assert result["x"].num_chunks > 20
    assert result["x"][-1].as_py() == 2_999_999


@pytest.mark.parametrize("spill", [2**20, 2**30])
async def test_a_merge_may_not_fill_the_disk(tmp_path, spill):
    numbered = "SELECT x, row_number() OVER (ORDER BY hash(i)) AS n"
    texts = "SELECT i, md5(i::TEXT) || md5((-i)::TEXT) AS x FROM range(1000000) t(i)"
    sql = f"SELECT count(x) FROM ({numbered} FROM ({texts})) WHERE n > 0"
    made = Merge(directory=tmp_path, threads=1, memory=2**26, spill=spill)
    with closing(made):
        if spill > 2**20:
            assert (await run(made, sql)).to_pydict() == {"x": [1_000_000]}
            return
        with pytest.raises(LimitExceeded, match="merge_memory or merge_spill"):
            await run(made, sql)


async def test_queries_at_the_same_time_see_their_own_rows(merge):
    def one(number):
        return run(merge, "SELECT SUM(x)::BIGINT FROM stage_0", stage_0=[batch(number)])

    results = await asyncio.gather(*(one(number) for number in range(20)))
    assert [r["x"][0].as_py() for r in results] == list(range(20))


async def test_rows_do_not_stay_for_the_next_query(merge):
    await run(merge, "SELECT * FROM stage_0", stage_0=[batch(1)])
    with pytest.raises(InternalError, match="stage_0"):
        await run(merge, "SELECT * FROM stage_0")


async def test_an_overflow_is_the_users(merge):
    sql = "SELECT 9223372036854775807 + x FROM stage_0"
    for rows in ([1], [*[0] * 500_000, 1]):
        with pytest.raises(InvalidValue, match=r"^Overflow .*\(in the merge of all"):
            await run(merge, sql, stage_0=[batch(*rows)])
    with pytest.raises(InvalidValue, match="does not fit"):
        await run(merge, "SELECT 9223372036854775808::HUGEINT")


async def test_what_does_not_fit_is_refused_with_the_remedy(merge):
    sql = "SELECT LENGTH(STRING_AGG(range::VARCHAR, '')) FROM range(100000000)"
    with pytest.raises(LimitExceeded, match="merge_memory"):
        await run(merge, sql)


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
        await run(merge, sql)
    assert outside.num_rows == 1


async def test_a_cancelled_merge_is_interrupted_and_its_slot_serves_again(merge):
    forever = "SELECT COUNT(*) FROM range(10000000000) a, range(10000000000) b"
    for _ in range(6):  # more than there are slots
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run(merge, forever)
    assert (await run(merge, "SELECT 1::BIGINT")).num_rows == 1
