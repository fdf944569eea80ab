"""CSV and TSV become rows in the table's types; what does not fit is told."""

import gzip
import io

import pandas as pd
import pyarrow as pa
import pytest
from support.reading import read, schema_of, table

from qserv.cli import output
from qserv.errors import BadContribution
from qserv.ingest import formats, inputs
from qserv.ingest.formats import delimited, escapes, quotes, rows

TABLE = table(a="BIGINT", b="DOUBLE", s="VARCHAR")
HEADER = b"a,b,s\n"
GOOD = b"".join(b"%d,%f,x%d\n" % (i, i / 3, i) for i in range(20))


@pytest.fixture
def csv(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_quotes_newlines_and_nulls_are_kept(csv):
    path = csv(b'b,S,A\r\n1.5,"a ""b"",\nc",1\r\n\\N,"",2\r\n,"\\N",3\r\nNaN,,4\r\n')
    found = read(path, TABLE)
    assert found.rows == {
        "a": [1, 2, 3, 4],
        "b": [1.5, None, None, None],
        "s": ['a "b",\nc', "", "\\N", None],
    }
    assert found.nulled == 1
    assert found.numbers == [1, 2, 3, 4]


def test_a_byte_order_mark_is_no_part_of_a_name(csv):
    assert read(csv(b'\xef\xbb\xbf"a",b,s\n1,2,x\n'), TABLE).rows["a"] == [1]


def test_words_for_null_count_where_no_text_is_wanted(csv):
    words = ["", "\\N", "null", "NULL", "None", "NA", "n/a", "--", "nan", "NaN"]
    content = "".join(f"{word},{word},{word}\n" for word in words)
    found = read(csv(HEADER + content.encode()), TABLE)
    assert found.rows["a"] == [None] * len(words)
    assert found.rows["b"] == [None] * len(words)
    assert found.rows["s"] == [None, None, *words[2:]]


def test_own_words_for_null_count_in_every_column(csv):
    path = csv(HEADER + b"-99,-99,-99\n1,2,\n")
    found = read(path, TABLE, nulls=("-99",))
    assert found.rows == {"a": [None, 1], "b": [None, 2.0], "s": [None, ""]}


@pytest.mark.parametrize("others", [b"", b"x,x,x,x\n"])
def test_own_words_for_null_count_with_blanks_where_no_text_is_wanted(csv, others):
    into = table(a="BIGINT", b="DOUBLE", t="TIMESTAMP", s="VARCHAR")
    path = csv(
        b'a,b,t,s\n"-9", -9,"1900-01-01",-9 \n-9,-9.0,1900-01-02,"-9"\n-8,1,,-9\n'
        + others
    )
    found = read(path, into, nulls=("-9", "1900-01-01"))
    assert found.rows == {
        "a": [None, None, -8],
        "b": [None, -9.0, 1.0],
        "t": [None, pd.Timestamp("1900-01-02"), None],
        "s": ["-9 ", "-9", None],
    }


def test_numbers_as_people_and_programs_write_them(csv):
    path = csv(HEADER + b" 1 , 1 ,x\n+5,+.5,x\n2.0,1.5D3,x\n1e3,-inf,x\n3,1.5d-3,x\n")
    found = read(path, TABLE)
    assert found.rejects == []
    assert found.rows["a"] == [1, 5, 2, 1000, 3]
    assert found.rows["b"] == [1.0, 0.5, 1500.0, float("-inf"), 0.0015]


def test_extremes_survive(csv):
    ends = [-(2**63), 2**63 - 1, 2**53 + 1]
    path = csv(b"a\n" + b"".join(b"%d\n" % n for n in ends) + b"9007199254740993.0\n")
    assert read(path, table(a="BIGINT")).rows["a"] == [*ends, 2**53 + 1]


def test_truths_in_every_habit(csv):
    path = csv(b"t\ntrue\nF\n1\n0\nYes\nno\nTRUE\nfalse\n\\N\nmaybe\n2\n")
    found = read(path, table(t="BOOLEAN"))
    assert found.rows["t"] == [True, False, True, False] + [True, False] * 2 + [None]
    assert found.reasons == [(10, "t", "maybe"), (11, "t", "2")]


def test_times_in_iso_8601(csv):
    times = [
        "2026-01-02", "2026-01-02T03:04", "2026-01-02 03:04:05",
        "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+01:00",
        "2026-01-02T03:04:05.678901000", "1969-12-31 23:59:59.999999 UTC",
    ]  # fmt: skip
    bad = ["2026-13-01", "03:04", "2026-01-02T03:04:05.1234567", "20260102"]
    path = csv("\n".join(["w", *times, "", *bad, ""]).encode())
    found = read(path, table(w="TIMESTAMP"))
    assert found.rows["w"] == [
        pd.Timestamp(text)
        for text in (
            "2026-01-02", "2026-01-02 03:04", "2026-01-02 03:04:05",
            "2026-01-02 03:04:05", "2026-01-02 02:04:05.5",
            "2026-01-02 03:04:05.678901", "1969-12-31 23:59:59.999999",
        )
    ] + [None]  # fmt: skip
    assert found.reasons == [(9 + i, "w", text) for i, text in enumerate(bad)]


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (b"1,2", "", "1,2"),
        (b"1,2,3,4", "", "1,2,3,4"),
        (b"1,zz,3", "b", "zz"),
        (b"9999999999999999999,1,1", "a", "9999999999999999999"),
        (b"1.5,1,1", "a", "1.5"),
        (b"1,1e999,1", "b", "1e999"),
        (b"1,2,\xff", "s", "\\xff"),
    ],
)
@pytest.mark.parametrize("header", [True, False])
def test_bad_rows_are_told_with_their_numbers(csv, row, column, value, header):
    before = b'1,2,"x\ny\n"\n\n1,2\n5,5,z\n'
    content = before + row + b"\n" + GOOD
    found = read(csv(HEADER * header + content), TABLE, header=header)
    assert found.reasons == [(2, "", "1,2"), (4, column, value)]
    assert found.numbers == [1, 3, *range(5, 25)]
    assert found.rows["a"] == [1, 5, *range(20)]


def test_numbers_hold_through_blocks_and_batches(csv, monkeypatch):
    monkeypatch.setattr(quotes, "BLOCK", 100)
    monkeypatch.setattr(delimited, "BATCH_ROWS", 3)
    lines = [b'%d,1,"a\nb"\n' % i if i % 10 else b"%d,1\n" % i for i in range(1, 200)]
    found = read(csv(HEADER + b"".join(lines)), TABLE)
    assert [reject.row for reject in found.rejects] == list(range(10, 200, 10))
    assert found.numbers == found.rows["a"] == [i for i in range(1, 200) if i % 10]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + GOOD + b'7,1,"x\n' + GOOD, "t.csv, row 21: a quote opens and never"),
        (HEADER + b'7,1,"x\n' + GOOD + b'8,2,"y\n' + GOOD, "row 1: a quote opens"),
        (HEADER + b'7,1,"x\n8,2,"y"\n', "t.csv, row 1: a quote opens"),
        (HEADER + b'7,1,x"y"\n', "t.csv, row 1: .* or stands inside a value"),
        (b"", "t.csv: is empty"),
        (b"a,b\n1,2\n", "t.csv: column s of table T is missing; the file has a, b"),
        (b"a,b,s,q\n", "t.csv: column q is not in table T; name it under `ignore:`"),
        (b"a,b,s,S\n", "t.csv: column s is there twice"),
        (b"a;b;s\n1;2;3\n", "header has one column, 'a;b;s': is the delimiter ';'"),
        (b"\xff\xfea\0,\0", "t.csv: is UTF-16"),
        ('a,b,s\n1,2,"x"\n'.encode("utf-16"), "t.csv: is UTF-16"),
        (b"# %ECSV 1.0\n", "t.csv: is ecsv by its first bytes"),
        (
            gzip.compress(HEADER, mtime=0),
            "t.csv: is packed with gzip by its first bytes",
        ),
    ],
)
@pytest.mark.parametrize("block", [10, 2**20])
def test_what_makes_the_whole_file_unreadable(
    csv, content, message, block, monkeypatch
):
    monkeypatch.setattr(quotes, "BLOCK", block)
    with pytest.raises(BadContribution, match=message):
        read(csv(content), TABLE)


def test_an_unclosed_quote_would_swallow_rows(csv, monkeypatch):
    """The guarantee: without the check of quotes the rest becomes one value."""
    path = csv(HEADER + GOOD + b'7,1,"x\n' + GOOD)
    monkeypatch.setattr(quotes, "_check", lambda *_, **__: None)
    assert len(read(path, TABLE).numbers) == 21


def test_a_row_without_end_is_refused_before_memory_is_full(csv, monkeypatch):
    monkeypatch.setattr(quotes, "BLOCK", 1000)
    monkeypatch.setattr(quotes, "ROW_LIMIT", 10_000)
    with pytest.raises(BadContribution, match="row 1: is longer than"):
        read(csv(HEADER + b"1" * 50_000 + b",2,3\n"), TABLE)


def test_an_empty_line_is_a_row_of_one_column(csv):
    found = read(csv(b's\nx\n\n""\ny\n'), table(s="VARCHAR"))
    assert found.rows["s"] == ["x", None, "", "y"]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_newline(csv, newline):
    path = csv((HEADER + b'1,2,"x\n"\n3,4,y\n').replace(b"\n", newline))
    assert read(path, TABLE).rows["a"] == [1, 3]


def test_a_header_alone_is_no_row(csv):
    assert read(csv(HEADER), TABLE).numbers == []


def test_other_delimiters_quotes_and_escapes(csv):
    path = csv(b"a;b;s\n1;2;'x;''y'\n")
    assert read(path, TABLE, delimiter=";", quote="'").rows["s"] == ["x;'y"]
    path = csv(b'a,b,s\n1,2,"x\\"y"\n3,4,"\\\\"\n')
    assert read(path, TABLE, escape="\\").rows["s"] == ['x"y', "\\"]
    path = csv(b'a\tb\ts\n1\t2\tx"y\n', "t.tsv")
    assert read(path, TABLE, quote="").rows["s"] == ['x"y']
    with pytest.raises(BadContribution, match="delimiter '::' is not one"):
        read(path, TABLE, delimiter="::")
    with pytest.raises(BadContribution, match="delimiter ';' is quote or escape, too"):
        read(path, TABLE, delimiter=";", escape=";")


@pytest.mark.parametrize("block", [*range(5, 20), 2**20])
def test_an_escape_is_one_wherever_a_block_ends(csv, block, monkeypatch):
    monkeypatch.setattr(quotes, "BLOCK", block)
    path = csv(
        b'a,b,s\n\\N,1,x\\\ny\n2,\\N,z\\,\\N\n3,1,"q\\\n,\\N,"\n4,1,\\N\n5,1,\\\\N\n6\n'
    )
    found = read(path, TABLE, escape="\\")
    assert found.rows == {
        "a": [None, 2, 3, 4, 5],
        "b": [1.0, None, 1.0, 1.0, 1.0],
        "s": ["x\ny", "z,N", "q\n,N,", None, "\\N"],
    }
    assert found.reasons == [(6, "", "6")]


def test_an_escape_would_hide_null(csv, monkeypatch):
    """The guarantee: Arrow takes the escape away before it looks for NULL."""
    path = csv(b"a,b,s\n1,1,\\N\n")
    monkeypatch.setattr(escapes, "sheltered", lambda block, *_: block)
    assert read(path, TABLE, escape="\\").rows["s"] == ["N"]


def test_a_quote_that_escapes_itself_is_doubled(csv):
    path = csv(b'a,b,s\n1,2,"x""y,\nz"\n')
    assert read(path, TABLE, escape='"').rows["s"] == ['x"y,\nz']


def test_names_of_columns(csv):
    path = csv(b"2,1,x\n")
    assert read(path, TABLE, header=False, names=("b", "a", "s")).rows["a"] == [1]
    path = csv(b"x y,q,b,s\n1,0,2,x\n")
    options = {"rename": {"x y": "a"}, "ignore": frozenset({"Q"})}
    assert read(path, TABLE, **options).rows["a"] == [1]
    assert schema_of(path, **options).names == ["a", "b", "s"]


def test_a_value_in_a_column_without_null(csv):
    found = read(csv(b"a\n1\n\nnan\n2\n"), table(a="BIGINT!"))
    assert found.reasons == [(2, "a", "NULL"), (3, "a", "nan")]
    assert found.rejects[0].reason == "it is NULL or NaN, but the column has none"


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst"])
def test_packed_texts(tmp_path, name):
    path = tmp_path / name
    codec = {"gz": "gzip", "zst": "zstd"}[name.rpartition(".")[2]]
    with pa.CompressedOutputStream(str(path), codec) as file:
        file.write(HEADER + GOOD)
    assert read(path, TABLE).numbers == list(range(1, 21))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadContribution, match=name):
        read(path, TABLE)


def test_our_own_output_comes_back(tmp_path):
    into = table(
        s="VARCHAR", i="BIGINT", b="BOOLEAN", t="TIMESTAMP", f="DOUBLE", r="REAL"
    )
    from qserv.wire.codec import arrow_schema

    schema = arrow_schema(into.columns)
    batch = pa.RecordBatch.from_pylist(
        [
            {"s": 'a,"\n', "i": 2**63 - 1, "b": True, "t": pd.Timestamp("1969-01-01")},
            {"s": "", "f": float("inf"), "r": 0.1, "b": False},
            {"s": "\\N", "f": 5e-324, "t": pd.Timestamp("2026-01-02 03:04:05.678901")},
            {},
        ],
        schema=schema,
    )

    class Result(list):
        pass

    result = Result([batch])
    result.schema = schema
    file = io.BytesIO()
    output.write(result, "csv", file)
    path = tmp_path / "own.csv"
    path.write_bytes(file.getvalue())
    assert read(path, into).data == pa.Table.from_batches([batch])


def test_rows_as_they_stand(csv):
    (file,) = inputs.find("T", [csv(HEADER + b"1,null,\\N\n1,2\n2,\xff,z\n")])
    (batch,) = formats.raw(file)
    assert batch.to_pydict() == {
        "a": ["1", "2"], "b": ["null", None], "s": [None, "z"],
    }  # fmt: skip
    assert formats.count(file) is None
    assert rows.shown("x\n" * 100).endswith("…")
