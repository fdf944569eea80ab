"""Tasks over gRPC, run by real executor processes over real Parquet files."""

import grpc
import pytest
import pytest_asyncio
from support import worker as w

from qserv.catalog.tables import HEALPIX, Column, DataType
from qserv.errors import (
    ChunkMissing,
    InternalError,
    InvalidRequest,
    InvalidValue,
    UnsupportedQuery,
)
from qserv.plan.plan import MARK
from qserv.wire.errors import from_rpc

A, B, C, EMPTY, ELSEWHERE = 64, 65, 66, 67, 68
ID = Column("objectId", DataType.BIGINT)
COUNT = Column("n", DataType.BIGINT)
SOURCE = f"{MARK}0{MARK}"
ALL_IDS = f'SELECT "objectId" FROM {SOURCE}'


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(tmp_path_factory):
    async with w.serving(tmp_path_factory.mktemp("worker")) as worker:
        own = {A: w.rows_of(A, 3), B: w.rows_of(B, 2), C: w.rows_of(C, 4)}
        overlap = {A: w.rows_of(B, 1), EMPTY: w.rows_of(C, 2)}
        await worker.load(own=own, overlap=overlap, chunks=[A, B, C, EMPTY])
        yield worker


async def test_a_task_reads_the_chunks_that_it_names_and_no_other(worker):
    answer = await worker.run(ALL_IDS, [A, C], [ID])
    assert sorted(answer.column("objectId")) == [
        *range(A * 1_000_000, A * 1_000_000 + 3),
        *range(C * 1_000_000, C * 1_000_000 + 4),
    ]
    assert answer.batches == [[A, C]]
    counters = answer.end.counters
    assert (counters.rows_out, counters.files) == (7, 2)
    read = [worker.own_file(chunk).stat().st_size for chunk in (A, C)]
    assert counters.bytes_scanned == sum(read)


@pytest.mark.parametrize("at_once", [1, 2, 64])
async def test_batches_of_any_size_give_the_same_rows(worker, at_once):
    answer = await worker.run(
        ALL_IDS, [A, B, C, EMPTY], [ID], batch_chunks=at_once, work=[1, 1, 1, 1]
    )
    assert len(answer.column("objectId")) == 9
    assert max(map(len, answer.batches)) <= at_once
    assert [chunk for batch in answer.batches for chunk in batch] == [A, B, C, EMPTY]
    assert answer.progress[-1:] == ([(4, 4)] if len(answer.ends) > 1 else [])


async def test_own_rows_and_overlap_are_different_relations(worker):
    sql = f"SELECT count(*) AS n FROM {SOURCE}"
    both = [worker.source(extent=w.OVERLAP)]
    for chunk, own, around in ((A, 3, 1), (B, 2, 0), (EMPTY, 0, 2)):
        answer = await worker.run(sql, [chunk], [COUNT])
        assert answer.column("n") == [own]
        answer = await worker.run(sql, [chunk], [COUNT], both)
        assert answer.column("n") == [own + around]


async def test_an_empty_chunk_gives_typed_nothing(worker):
    answer = await worker.run(ALL_IDS, [EMPTY], [ID])
    assert answer.rows == []
    assert answer.batches == [[EMPTY]]
    sql = f'SELECT sum("mag") AS n, count("name") AS m FROM {SOURCE}'
    columns = [Column("n", DataType.DOUBLE), Column("m", DataType.BIGINT)]
    answer = await worker.run(sql, [EMPTY], columns)
    assert (answer.column("n"), answer.column("m")) == ([None], [0])


async def test_sources_join_and_parameters_are_bound(worker):
    await worker.load("Filter", copy=w.rows_of(A, 2))
    sources = [worker.source(), worker.source("Filter", w.COPY)]
    sql = (
        f'SELECT a."objectId", b."name" || $1 AS name FROM {SOURCE} a '
        f'JOIN {MARK}1{MARK} b ON a."objectId" = b."objectId" '
        f'WHERE a."{HEALPIX}" >= $2'
    )
    parameters = [{"text": "'; -- é"}, {"integer": 0}]
    answer = await worker.run(
        sql,
        [A, B],
        [ID, Column("name", DataType.VARCHAR)],
        sources,
        parameters=parameters,
        batch_chunks=1,
    )
    assert sorted(answer.column("name")) == ["star 0'; -- é", "star 1'; -- é"]


async def test_replicated_tables_alone_run_once(worker):
    await worker.load("Visit", copy=w.rows_of(A, 2))
    source = worker.source("Visit", w.COPY)
    answer = await worker.run(ALL_IDS, [0], [ID], [source])
    assert len(answer.column("objectId")) == 2


async def test_rows_are_cast_to_the_types_of_the_task(worker):
    sql = f'SELECT sum("objectId") AS n, 1 AS one FROM {SOURCE}'
    columns = [COUNT, Column("one", DataType.DOUBLE, unit="mag")]
    answer = await worker.run(sql, [A], columns)
    assert answer.rows[0].to_pylist() == [{"n": 3 * A * 1_000_000 + 3, "one": 1.0}]
    assert answer.rows[0].schema.field("one").metadata == {b"unit": b"mag"}
    huge = [Column("n", DataType.HUGEINT)]
    answer = await worker.run(f'SELECT sum("objectId") FROM {SOURCE}', [A], huge)
    assert answer.column("n") == [3 * A * 1_000_000 + 3]


async def test_many_rows_come_in_small_messages(worker):
    sql = f'SELECT i AS "objectId" FROM {SOURCE} a, range(100000) t(i)'
    answer = await worker.run(sql, [A], [ID])
    assert sum(batch.num_rows for batch in answer.rows) == 300_000
    assert max(batch.nbytes for batch in answer.rows) <= 2**20


async def test_a_limit_stops_the_task(worker):
    answer = await worker.run(ALL_IDS, [A, B, C], [ID], batch_chunks=1, limit=4)
    # A batch that began before the one ahead of it was counted may give more.
    assert len(answer.column("objectId")) in {4, 5}
    assert answer.batches == [[A], [B]]
    sql = f'SELECT i AS "objectId" FROM {SOURCE} a, range(100000) t(i)'
    answer = await worker.run(sql, [A], [ID], limit=70_000)
    assert len(answer.column("objectId")) == 70_000


async def test_only_what_is_held_is_answered(worker):
    other = worker.source(manifest_version=2)
    await worker.refuses(
        ChunkMissing, "dr1.Object at version 2", ALL_IDS, [A], [ID], [other]
    )
    tree = worker.source(tree_version=2)
    await worker.refuses(
        ChunkMissing, "over tree version 1", ALL_IDS, [A], [ID], [tree]
    )
    unknown = worker.source("Sauce")
    await worker.refuses(ChunkMissing, "dr1.Sauce", ALL_IDS, [A], [ID], [unknown])
    await worker.refuses(
        ChunkMissing,
        f"does not hold chunk {ELSEWHERE} of dr1.Object",
        ALL_IDS,
        [A, ELSEWHERE],
        [ID],
    )
    copied = worker.source(extent=w.COPY)
    await worker.refuses(ChunkMissing, "chunk 0", ALL_IDS, [0], [ID], [copied])


async def test_an_older_version_is_answered_as_it_was(worker):
    for count in (3, 50):
        await worker.load("Grown", own={A: w.rows_of(A, count)})
    for version, count in ((1, 3), (2, 50)):
        source = worker.source("Grown", manifest_version=version)
        answer = await worker.run(ALL_IDS, [A], [ID], [source])
        assert len(answer.column("objectId")) == count


async def test_messages_that_contradict_themselves_are_refused(worker):
    await worker.refuses(InvalidRequest, "twice", ALL_IDS, [A, A], [ID])
    await worker.refuses(InvalidRequest, "not aligned", ALL_IDS, [A, B], [ID], work=[1])
    marker = f"SELECT 1 FROM {MARK}7{MARK}"
    await worker.refuses(InternalError, "without source", marker, [A], [ID])


async def test_what_comes_later_is_refused(worker):
    await worker.refuses(
        UnsupportedQuery, "cannot be run yet", ALL_IDS, [A], [ID], file_parts=[0]
    )


async def test_an_overflow_names_the_values_and_the_chunks(worker):
    sql = f'SELECT "objectId" * 1000000000000 AS "objectId" FROM {SOURCE}'
    text = await worker.refuses(InvalidValue, "Overflow", sql, [A, B], [ID])
    assert "64000000 * 1000000000000" in text
    assert f"chunks {A}, {B} of dr1.Object" in text


async def test_a_value_that_fails_late_ends_the_stream_with_the_error(worker):
    sql = (
        'SELECT CASE WHEN i > 190000 THEN i * 9000000000000000000 ELSE i END AS "n" '
        f"FROM (SELECT * FROM {SOURCE} LIMIT 1) a, range(200000) t(i)"
    )
    await worker.refuses(InvalidValue, "Overflow", sql, [A], [COUNT])


async def test_our_own_wrong_sql_is_a_bug(worker):
    wrong = f'SELECT "nothing" FROM {SOURCE}'
    text = await worker.refuses(InternalError, "[BUG]", wrong, [A], [ID])
    assert "nothing" in text
    assert str(worker.directory) not in text


async def test_an_executor_reads_no_other_file(worker, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.csv"
    secret.write_text("objectId\n1\n")
    for path in (secret, "/etc/passwd", "../worker.json", "../lock"):
        sql = f"SELECT 1 AS \"objectId\" FROM read_csv('{path}'), {SOURCE}"
        with pytest.raises(grpc.RpcError) as told:
            await worker.run(sql, [A], [ID])
        assert "disabled by configuration" in from_rpc(told.value, "w").text
