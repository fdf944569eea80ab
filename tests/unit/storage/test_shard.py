"""A written file is what its manifest entry says."""

import hashlib

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qserv.catalog.snapshot import Role
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.ingest.stored import bounded_columns, index_schema, stored_schema
from qserv.storage import shard

TABLE = Table(
    "Object",
    TableKind.DIRECTOR,
    (
        Column("id", DataType.BIGINT, ucd="meta.id;meta.main", nullable=False),
        Column("RA", DataType.DOUBLE, unit="deg", description="Where it is"),
        Column("dec", DataType.DOUBLE, unit="deg"),
        Column("band", DataType.VARCHAR),
    ),
    key="ID",
    position=("ra", "dec"),
)


def stored(count):
    values = np.arange(count)
    bands = pa.array(["g", None] * (count // 2))
    columns = [values * 3, np.full(count, 7), np.full(count, 1, np.int32)]
    columns += [values / 2, values / 3, values / 4]
    columns += [values + 10, values * 0.01, -values * 0.001, bands]
    return pa.table(columns, schema=stored_schema(TABLE))


def written(tmp_path, rows, **options):
    path = tmp_path / "f.parquet"
    given = {"role": Role.BASE, "chunk": 7, "path": "r/t/x.parquet", "offset": 0.25}
    given["bounded"] = bounded_columns(TABLE)
    entry, content = shard.made(rows, **(given | options))
    path.write_bytes(content)
    return path, entry


def test_the_entry_tells_what_lies_on_disk(tmp_path):
    path, entry = written(tmp_path, stored(1000))
    content = path.read_bytes()
    assert (entry.rows, entry.live_rows, entry.size) == (1000, 1000, len(content))
    assert entry.sha256 == hashlib.sha256(content).hexdigest()
    assert (entry.role, entry.chunk, entry.path) == (Role.BASE, 7, "r/t/x.parquet")
    assert entry.offset == 0.25
    assert entry.bounds == {
        "_healpix_29": (0, 2997),
        "id": (10, 1009),
        "RA": (0.0, 9.99),
        "dec": (-0.999, 0.0),
    }


def test_columns_keep_their_meaning_and_engines_read_them(tmp_path):
    path, _ = written(tmp_path, stored(1000))
    schema = pq.read_schema(path)
    assert schema.names[0] == "_healpix_29"
    assert schema.field("RA").metadata == {
        b"unit": b"deg",
        b"description": b"Where it is",
    }
    assert schema.field("id").metadata == {b"ucd": b"meta.id;meta.main"}
    sql = f"SELECT count(band), sum(id) FROM '{path}'"
    assert duckdb.sql(sql).fetchall() == [(500, sum(range(10, 1010)))]


def test_row_groups_are_large_for_rows_and_small_for_keys(tmp_path):
    path, _ = written(tmp_path, stored(200_000))
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [
        98_304, 98_304, 3_392,
    ]  # fmt: skip
    rows = pa.table([np.arange(20_000)] * 2, schema=index_schema(TABLE.column("id")))
    path, _ = written(tmp_path, rows, role=Role.INDEX, bounded=[shard.INDEX_KEY])
    groups = pq.ParquetFile(path).metadata
    assert groups.row_group(0).num_rows == 8192
    assert groups.row_group(0).column(0).compression == "SNAPPY"


def test_a_column_of_nulls_has_no_bounds():
    rows = pa.table({"a": pa.nulls(2, pa.int64()), "b": [None, 3]})
    assert shard.bounds(rows, ["a", "b"]) == {"b": (3, 3)}


def test_a_replicated_table_only_says_where_rows_are_from():
    table = Table("Filter", TableKind.REPLICATED, (Column("f", DataType.REAL),))
    assert stored_schema(table).names == ["_source", "f"]
    assert bounded_columns(table) == ()


@pytest.mark.parametrize("text", [False, True])
def test_an_index_is_read_as_it_was_whatever_its_keys(tmp_path, text):
    rng = np.random.default_rng(3)
    keys = rng.integers(-(2**63), 2**63 - 1, 20_000, dtype=np.int64)
    keys = np.unique(np.append(keys, [-(2**63), -1, 0, 2**63 - 1]))
    homes = rng.integers(0, 12 * 4**29, len(keys))
    column = Column("id", DataType.VARCHAR if text else DataType.BIGINT)
    made = np.sort(keys.astype(str)) if text else keys
    rows = pa.table([pa.array(made), homes], schema=index_schema(column))
    path, entry = written(tmp_path, rows, role=Role.INDEX, bounded=(shard.INDEX_KEY,))
    assert pq.read_table(path).equals(rows)
    assert entry.bounds["key"] == (made[0], made[-1])
