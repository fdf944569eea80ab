"""Files become rows in the table's types, or an error with file, row and column."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.loads import columns, gather

from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.errors import BadContribution
from qserv.ingest import readers
from qserv.ingest.readers import schema_of

TABLE = Table("T", TableKind.REPLICATED, columns(a="BIGINT", b="DOUBLE", s="VARCHAR"))
HEADER = b"a,b,s\n"
GOOD = b"".join(b"%d,%f,x%d\n" % (i, i / 3, i) for i in range(20))


@pytest.fixture
def csv(tmp_path):
    def write(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def parquet(tmp_path):
    def write(**arrays):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(arrays), path)
        return path

    return write


def one(datatype, *, nullable=True):
    column = Column("v", DataType(datatype), nullable=nullable)
    return Table("T", TableKind.REPLICATED, (column,))


def test_csv_keeps_quotes_newlines_and_nulls(csv):
    path = csv(b'b,S,A\r\n1.5,"a ""b"",\nc",1\r\n\\N,"",2\r\n,"\\N",3\r\nNaN,,4\r\n')
    found = gather(TABLE, path)
    assert found.data.to_pydict() == {
        "a": [1, 2, 3, 4],
        "b": [1.5, None, None, None],
        "s": ['a "b",\nc', "", "\\N", None],
    }
    assert [source.nulled for source in found.sources] == [1]


def test_csv_reads_every_type(csv):
    types = {
        "t": "BOOLEAN", "i": "SMALLINT", "f": "REAL", "w": "TIMESTAMP",
    }  # fmt: skip
    table = Table("T", TableKind.REPLICATED, columns(**types))
    path = csv(b"t,i,f,w\ntrue,-5,0.1,2026-01-02 03:04:05.678901\nfalse,,1e3,\n")
    rows = gather(table, path).data.to_pydict()
    assert rows["t"] == [True, False]
    assert rows["i"] == [-5, None]
    assert rows["f"][0] == pytest.approx(0.1, rel=1e-7)
    assert rows["w"] == [pd.Timestamp("2026-01-02 03:04:05.678901"), None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + GOOD + b"1,2\n" + GOOD, "t.csv, row 21: .*Expected 3 columns, got 2"),
        (HEADER + GOOD + b"1,2,3,4\n", "t.csv, row 21: .*Expected 3 columns, got 4"),
        (HEADER + GOOD + b"1,zz,3\n", "t.csv, row 21, column b: .*'zz'"),
        (HEADER + b"9999999999999999999,1,1\n", "t.csv, row 1, column a: .*9999999"),
        (HEADER + b"1.5,1,1\n", "t.csv, row 1, column a: .*'1.5'"),
        (HEADER + GOOD + b'7,1,"x\n' + GOOD, "t.csv, row 21: a quote opens and never"),
        (HEADER + b'7,1,"x\n' + GOOD + b'8,2,"y\n' + GOOD, "row 1: a quote opens"),
        (HEADER + b'7,1,"x\n8,2,"y"\n', "t.csv, row 1: a quote opens"),
        (HEADER + b'7,1,x"y"\n', "t.csv, row 1: .* or stands inside a value"),
        (HEADER + GOOD + b"1,2,\xff\n", "t.csv, row 21, column s: .*UTF8"),
        (b"", "t.csv: is empty"),
        (b"a,b\n1,2\n", "t.csv: column s of table T is missing; the file has a, b"),
        (b"a,b,s,q\n", "t.csv: column q is not in table T"),
        (b"a,b,s,S\n", "t.csv: column s stands there twice"),
    ],
)
def test_csv_refuses(csv, content, message):
    with pytest.raises(BadContribution, match=message):
        gather(TABLE, csv(content))


def test_an_empty_line_is_a_row_of_one_column(csv):
    table = Table("T", TableKind.REPLICATED, columns(s="VARCHAR"))
    found = gather(table, csv(b's\nx\n\n""\ny\n'))
    assert found.data["s"].to_pylist() == ["x", None, "", "y"]


def test_an_unclosed_quote_would_swallow_rows(csv):
    """The guarantee: without the check of quotes the rest becomes one value."""
    path = csv(HEADER + GOOD + b'7,1,"x\n' + GOOD)
    swallowed = list(readers.read(TABLE, path, stray=None))
    assert sum(batch.rows.num_rows for batch in swallowed) == 21


@pytest.mark.parametrize(
    ("datatype", "array", "expected"),
    [
        ("BIGINT", pa.array([1, None], pa.int32()), [1, None]),
        ("BIGINT", pa.array([1, 2], pa.uint64()), [1, 2]),
        ("SMALLINT", pa.array([1, -1], pa.int64()), [1, -1]),
        ("INTEGER", pa.array([1.0, float("nan")]), [1, None]),
        ("DOUBLE", pa.array([1, 2], pa.int32()), [1.0, 2.0]),
        ("DOUBLE", pa.array([0.5, 1.5], pa.float32()), [0.5, 1.5]),
        ("REAL", pa.array([0.5, None, float("inf")]), [0.5, None, float("inf")]),
        ("REAL", pa.array(np.array([0.5, float("nan")], np.float16)), [0.5, None]),
        ("VARCHAR", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        ("VARCHAR", pa.array(["a", None], pa.large_string()), ["a", None]),
        ("BOOLEAN", pa.array([True, None]), [True, None]),
        ("DOUBLE", pa.nulls(2), [None, None]),
        (
            "TIMESTAMP",
            pa.array([1000], pa.timestamp("ns", tz="UTC")),
            [pd.Timestamp("1970-01-01 00:00:00.000001")],
        ),
    ],
)
def test_types_widen_and_values_survive(parquet, datatype, array, expected):
    found = gather(one(datatype), parquet(v=array))
    assert found.data["v"].to_pylist() == expected


@pytest.mark.parametrize(
    ("datatype", "array", "message"),
    [
        (
            "DOUBLE",
            pa.array(["1"]),
            "column v: has type string, but the table wants DOUB",
        ),
        ("BIGINT", pa.array([True]), "column v: has type bool"),
        ("BOOLEAN", pa.array([1]), "column v: has type int64"),
        ("VARCHAR", pa.array([1]), "column v: has type int64"),
        ("SMALLINT", pa.array([1] * 9 + [40000]), "row 10, column v: 40000"),
        ("BIGINT", pa.array([1.0, 1.5]), "row 2, column v: 1.5"),
        (
            "BIGINT",
            pa.array([2**63], pa.uint64()),
            "row 1, column v: 9223372036854775808",
        ),
        ("REAL", pa.array([0.5, None, 0.1]), "row 3, column v: 0.1"),
        ("REAL", pa.array([1e39]), "row 1, column v: 1e[+]39"),
        ("DOUBLE", pa.array([0, 2**53 + 1]), "row 2, column v: 9007199254740993"),
        ("TIMESTAMP", pa.array([1], pa.timestamp("ns")), "row 1, column v: "),
    ],
)
def test_what_would_lose_something_is_refused(parquet, datatype, array, message):
    with pytest.raises(BadContribution, match=rf"t.parquet.*{message}"):
        gather(one(datatype), parquet(v=array))


def test_nan_is_null_and_counted_and_refused_where_null_is(parquet):
    path = parquet(v=[1.0, float("nan"), None, float("nan")])
    found = gather(one("DOUBLE"), path)
    assert found.data["v"].to_pylist() == [1.0, None, None, None]
    assert found.sources[0].nulled == 2
    with pytest.raises(BadContribution, match=r"row 2, column v: is NULL or NaN"):
        gather(one("DOUBLE", nullable=False), path)


def test_rows_are_numbered_through_batches(parquet, monkeypatch):
    monkeypatch.setattr(readers, "BATCH_ROWS", 10)
    with pytest.raises(BadContribution, match=r"row 37, column v: 70000"):
        gather(one("SMALLINT"), parquet(v=[1] * 36 + [70000] + [1] * 20))


def test_a_truncated_or_spoilt_parquet_file_is_refused(parquet):
    path = parquet(v=list(range(100_000)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        BadContribution, match=r"t.parquet: is not a whole Parquet file"
    ):
        gather(one("BIGINT"), path)
    path.write_bytes(whole[:1000] + bytes(2000) + whole[3000:])
    with pytest.raises(BadContribution, match=r"t.parquet: cannot be read beyond row"):
        gather(one("BIGINT"), path)


def test_rows_know_their_file(tmp_path):
    table = one("BIGINT")
    paths = []
    for name, values in (("a", [1, 2]), ("b", []), ("c", [3])):
        paths.append(tmp_path / f"{name}.parquet")
        pq.write_table(pa.table({"v": pa.array(values, pa.int64())}), paths[-1])
    found = gather(table, *paths)
    assert [found.locate(i) for i in range(3)] == [
        (paths[0], 1), (paths[0], 2), (paths[2], 1),
    ]  # fmt: skip


def test_the_columns_of_a_file(csv, parquet):
    assert schema_of(csv(b"a,b,s\n1,0.5,x\n")).types == [
        pa.int64(), pa.float64(), pa.string(),
    ]  # fmt: skip
    assert schema_of(parquet(v=[1])).names == ["v"]
    with pytest.raises(BadContribution, match=r"row 1: .*Expected 2 columns, got 1"):
        schema_of(csv(b"a,b\n1\n"))
