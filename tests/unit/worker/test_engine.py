"""One batch in one DuckDB, in this process: templates, types, both ways to read."""

import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.chunks import Chunks
from support.tiny import tiny

from qserv.catalog.tables import Column, DataType
from qserv.errors import InternalError, InvalidValue, LimitExceeded
from qserv.plan.plan import MARK
from qserv.plan.planner import plan
from qserv.wire.codec import arrow_schema, encode_schema
from qserv.worker import engine
from qserv.worker.engine import Batch, Settings
from qserv.worker.template import Template

T = DataType
EVERY_TYPE = {
    "a": (T.BOOLEAN, "i % 2 = 0", [True, False, True]),
    "b": (T.SMALLINT, "(i - 1)::SMALLINT", [-1, 0, 1]),
    "c": (T.INTEGER, "(i * 100000)::INTEGER", [0, 100_000, 200_000]),
    "d": (T.BIGINT, "i + 9007199254740992", [2**53, 2**53 + 1, 2**53 + 2]),
    "e": (T.REAL, "(i / 10)::FLOAT", np.float32([0, 0.1, 0.2]).tolist()),
    "f": (T.DOUBLE, "i / 10", [0, 0.1, 0.2]),
    "g": (T.VARCHAR, "'é' || i", ["é0", "é1", "é2"]),
    "h": (
        T.TIMESTAMP,
        "make_timestamp(i * 1000000 + 1)",
        [datetime.fromisoformat(f"1970-01-01T00:00:0{s}.000001") for s in range(3)],
    ),
    "i": (T.HUGEINT, f"i::HUGEINT * {10**30}", [0, 10**30, 2 * 10**30]),
    "k": (T.HUGEINT, "(i - 1)::DECIMAL(38, 0) * 3", [-3, 0, 3]),
    "j": (T.DOUBLE, "CASE WHEN i <> 1 THEN i::DOUBLE END", [0, None, 2]),
}


@pytest.fixture
def room():
    return 2**30


@pytest.fixture
def connection(tmp_path, room):
    before = Path.cwd()
    (tmp_path / "data").mkdir()
    data, spill = str(tmp_path / "data"), str(tmp_path / "spill")
    settings = Settings(data, spill, 1, 2**26, room)
    with engine.connect(settings) as connection:
        yield connection
    os.chdir(before)


def columns(*types):
    return [Column(f"c{n}", datatype) for n, datatype in enumerate(types)]


def run(connection, sql, types, *, small, limit=None, parameters=()):
    schema = encode_schema(arrow_schema(columns(*types)))
    batch = Batch(sql, parameters, schema, limit=limit, small=small)
    rows = list(engine.run(connection.cursor(), batch))
    assert all(b.schema.equals(arrow_schema(columns(*types))) for b in rows)
    return [tuple(row.values()) for batch in rows for row in batch.to_pylist()]


@pytest.mark.parametrize("small", [True, False])
def test_every_type_arrives_as_it_was(connection, small):
    for datatype, expression, values in EVERY_TYPE.values():
        sql = f"SELECT {expression} FROM range(3) t(i)"
        rows = run(connection, sql, [datatype], small=small)
        assert rows == [(value,) for value in values]
    types, expressions, values = zip(*EVERY_TYPE.values(), strict=True)
    sql = f"SELECT {', '.join(expressions)} FROM range(3) t(i)"
    assert run(connection, sql, types, small=small) == list(zip(*values, strict=True))


def test_a_small_batch_of_a_plan_is_executed_once(connection, monkeypatch):
    monkeypatch.setattr(engine, "_stream", None)
    chunks = Chunks(tiny(), leaf_rows=1)
    text = """SELECT SUM(objectId) AS a, AVG(x) AS b, COUNT(*) AS c, MIN(name) AS d,
        MAX(r) AS e, AVG(small) AS f, MAX(small) AS g FROM Object"""
    made = plan(text, chunks.snapshot)
    fragment = made.stages[0]
    (source,) = fragment.sources
    sql = Template(fragment.sql, [source.columns]).fill([[(1, "o.parquet")]])
    pq.write_table(chunks.survey.rows["Object"], "o.parquet")
    schema = arrow_schema(fragment.columns)
    batch = Batch(sql, fragment.parameters, encode_schema(schema), small=True)
    (rows,) = engine.run(connection.cursor(), batch)
    assert rows.schema.equals(schema)
    total = sum(chunks.survey.rows["Object"]["objectId"].to_pylist())
    assert Decimal(total) in rows.to_pylist()[0].values()


@pytest.mark.parametrize("small", [True, False])
def test_values_that_python_lacks_arrive_too(connection, small):
    sql = "SELECT TIMESTAMP '20000-01-01' = $1::TIMESTAMP, '20000-01-01'::TIMESTAMP"
    schema = arrow_schema(columns(T.BOOLEAN, T.TIMESTAMP))
    batch = Batch(sql, ("20000-01-01",), encode_schema(schema), small=small)
    (rows,) = engine.run(connection.cursor(), batch)
    assert rows.column(0).to_pylist() == [True]
    assert rows.column(1).cast("int64").to_pylist() == [568_971_820_800_000_000]
    nan = run(
        connection, "SELECT 'nan'::DOUBLE, ''", [T.DOUBLE, T.VARCHAR], small=small
    )
    assert np.isnan(nan[0][0])


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 200_000])
def test_any_number_of_rows_arrives_once(connection, small, count):
    sql = "SELECT i FROM range($1) t(i)"
    rows = run(connection, sql, [T.BIGINT], small=small, parameters=(count,))
    assert rows == [(i,) for i in range(count)]
    some = run(connection, sql, [T.BIGINT], small=small, parameters=(count,), limit=500)
    assert some == rows[:500]


@pytest.mark.parametrize("small", [True, False])
def test_values_are_cast_exactly_or_refused(connection, small):
    assert run(connection, "SELECT 3", [T.DOUBLE], small=small) == [(3.0,)]
    assert run(connection, "SELECT sum(7)", [T.BIGINT], small=small) == [(7,)]
    for sql, datatype in (("1.5::DOUBLE", T.BIGINT), ("70000", T.SMALLINT)):
        with pytest.raises(InvalidValue, match="does not fit its column"):
            run(connection, f"SELECT {sql}", [datatype], small=small)


@pytest.mark.parametrize("small", [True, False])
def test_a_query_that_needs_too_much_memory_says_what_to_do(connection, small):
    sql = "SELECT len(list(i)) FROM range(30000000) t(i)"
    with pytest.raises(LimitExceeded, match=r"or give the workers more memory"):
        run(connection, sql, [T.BIGINT], small=small)


@pytest.mark.parametrize("room", [2**20, 2**30])
def test_a_query_may_not_fill_the_disk(connection, room):
    numbered = "SELECT x, row_number() OVER (ORDER BY hash(i)) AS n"
    texts = "SELECT i, md5(i::TEXT) || md5((-i)::TEXT) AS x FROM range(1000000) t(i)"
    sql = f"SELECT count(x), max(n) FROM ({numbered} FROM ({texts}))"
    if room > 2**20:
        rows = run(connection, sql, [T.BIGINT, T.BIGINT], small=False)
        assert rows == [(1_000_000, 1_000_000)]
        return
    with pytest.raises(LimitExceeded, match="settings memory and spill_bytes"):
        run(connection, sql, [T.BIGINT, T.BIGINT], small=False)


@pytest.mark.parametrize("small", [True, False])
def test_the_wrong_number_of_columns_is_a_bug(connection, small):
    with pytest.raises(InternalError, match="2 columns where 1 were planned"):
        run(connection, "SELECT 1, 2", [T.INTEGER], small=small)


def test_a_template_is_filled_with_files_or_with_typed_nothing():
    sources = [columns(T.BIGINT, T.VARCHAR), [Column('q"q', T.DOUBLE)]]
    template = Template(f"SELECT * FROM {MARK}1{MARK} a, {MARK}0{MARK} b", sources)
    assert template.fill([[(1, "x/y.parquet"), (2, "z.parquet")], []]) == (
        'SELECT * FROM (SELECT NULL::DOUBLE AS "q""q" WHERE false) a, '
        "(SELECT \"c0\", \"c1\" FROM read_parquet(['x/y.parquet', 'z.parquet'], "
        "hive_partitioning=false)) b"
    )
    for sql in (f"{MARK}2{MARK}", f"{MARK}-1{MARK}", f"{MARK}0", f"{MARK}0;x{MARK}"):
        with pytest.raises(InternalError, match="marker without source"):
            Template(sql, sources)


def test_settings_cannot_be_changed_by_a_query(connection):
    for name in ("enable_external_access = true", "allowed_directories = ['/']"):
        with pytest.raises(duckdb.Error, match=r"locked|while the database is running"):
            connection.execute(f"SET {name}")
