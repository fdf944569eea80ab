"""Parquet and Arrow become rows in the table's types."""

import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn
from astropy.table import Table as Astropy
from support.reading import read, schema_of, table

from qserv.catalog.sidecar import Reading
from qserv.errors import BadContribution
from qserv.ingest import formats, inputs
from qserv.ingest.formats import parquet as module
from qserv.ingest.looking import look


def unchecked_texts(*texts):
    """Return texts as a program writes them that does not look whether they are."""
    plain = pa.array(texts, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(plain), plain.buffers())


@pytest.fixture
def parquet(tmp_path):
    def write(**arrays):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(arrays), path)
        return path

    return write


@pytest.mark.parametrize(
    ("datatype", "array", "expected"),
    [
        ("BIGINT", pa.array([1, None], pa.int32()), [1, None]),
        ("BIGINT", pa.array([1, 2], pa.uint64()), [1, 2]),
        ("SMALLINT", pa.array([1, -1], pa.int64()), [1, -1]),
        ("INTEGER", pa.array([1.0, float("nan")]), [1, None]),
        ("DOUBLE", pa.array([1, 2**53], pa.int64()), [1.0, 2.0**53]),
        ("DOUBLE", pa.array([0.5, 1.5], pa.float32()), [0.5, 1.5]),
        ("REAL", pa.array([0.5, None, float("inf")]), [0.5, None, float("inf")]),
        ("REAL", pa.array(np.array([0.5, float("nan")], np.float16)), [0.5, None]),
        ("DOUBLE", pa.array([decimal.Decimal("0.10"), None]), [0.1, None]),
        # The nearest number: not 2.5500000000000003.
        ("DOUBLE", pa.array([decimal.Decimal("2.55")], pa.decimal128(10, 2)), [2.55]),
        ("DOUBLE", pa.array([decimal.Decimal("0.1")], pa.decimal128(38, 30)), [0.1]),
        ("BIGINT", pa.array([decimal.Decimal(2**62)]), [2**62]),
        ("BIGINT", pa.array([decimal.Decimal("-3.0")], pa.decimal32(9, 2)), [-3]),
        ("VARCHAR", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        ("VARCHAR", pa.array(["a", None], pa.large_string()), ["a", None]),
        ("VARCHAR", pa.array(["a", ""], pa.string_view()), ["a", ""]),
        ("BOOLEAN", pa.array([True, None]), [True, None]),
        ("BOOLEAN", pa.array([1, 0, None], pa.int8()), [True, False, None]),
        ("DOUBLE", pa.nulls(2), [None, None]),
        ("TIMESTAMP", pa.array([1], pa.date32()), [pd.Timestamp("1970-01-02")]),
        ("TIMESTAMP", pa.array([86400000], pa.date64()), [pd.Timestamp("1970-01-02")]),
        ("TIMESTAMP", pa.array(["1970-01-02T00:00:00Z"]), [pd.Timestamp("1970-01-02")]),
        (
            "TIMESTAMP",
            pa.array([1000], pa.timestamp("ns", tz="UTC")),
            [pd.Timestamp("1970-01-01 00:00:00.000001")],
        ),
    ],
)
def test_types_widen_and_values_survive(parquet, datatype, array, expected):
    found = read(parquet(v=array), table(v=datatype))
    assert found.rows["v"] == expected
    assert found.rejects == []


@pytest.mark.parametrize(
    ("datatype", "array", "rows"),
    [
        ("SMALLINT", pa.array([1] * 9 + [40000]), [10]),
        ("BIGINT", pa.array([1.0, 1.5, 2.0**63, -(2.0**63)]), [2, 3]),
        ("BIGINT", pa.array([2**63, 1], pa.uint64()), [1]),
        ("INTEGER", pa.array([2**31, 1, -(2**31) - 1]), [1, 3]),
        ("INTEGER", pa.array([float("inf"), 1, 1e300]), [1, 3]),
        ("REAL", pa.array([0.5, None, 0.1]), [3]),
        ("REAL", pa.array([1e39]), [1]),
        ("DOUBLE", pa.array([0, 2**53 + 1, 2**63 - 1]), [2, 3]),
        ("DOUBLE", pa.array([2**64 - 1, 2**63], pa.uint64()), [1]),
        ("DOUBLE", pa.array([decimal.Decimal("0.12345678901234567")]), [1]),
        ("BOOLEAN", pa.array([1, 2, 0, -1]), [2, 4]),
        ("TIMESTAMP", pa.array([1, 1000], pa.timestamp("ns")), [1]),
        ("TIMESTAMP", pa.array([2**62, 0], pa.timestamp("ms")), [1]),
        ("TIMESTAMP", pa.array(["x", "1970-01-02", "0000-12-31"]), [1, 3]),
        # NaT, and years that no text of ISO 8601 tells.
        ("TIMESTAMP", pa.array([-(2**63), 2**62, 0], pa.timestamp("us")), [1, 2]),
        ("TIMESTAMP", pa.array([-(2**31), 0, 2**31 - 1], pa.date32()), [1, 3]),
        ("VARCHAR", unchecked_texts(b"\xff", b"\xc3\xa9", b"\xc3"), [1, 3]),
        ("VARCHAR", unchecked_texts(b"\xff", b"e").dictionary_encode(), [1]),
    ],
)
def test_what_would_lose_something_is_told(parquet, datatype, array, rows):
    found = read(parquet(v=array), table(v=datatype))
    assert [reject.row for reject in found.rejects] == rows
    assert found.numbers == [n for n in range(1, len(array) + 1) if n not in rows]


@pytest.mark.parametrize(
    ("datatype", "array", "message"),
    [
        ("DOUBLE", pa.array(["1"]), "column v: has type string, but the table wants"),
        ("BIGINT", pa.array([True]), "column v: has type bool"),
        ("VARCHAR", pa.array([1]), "column v: has type int64"),
        ("DOUBLE", pa.array([[1.0]]), "column v: has several values a row .*`ignore:`"),
        ("VARCHAR", pa.array([{"a": 1}]), "column v: has several values a row"),
        ("BIGINT", pa.array([1], pa.duration("s")), "column v: has type duration"),
    ],
)
def test_types_that_cannot_become_the_column_s(parquet, datatype, array, message):
    with pytest.raises(BadContribution, match=rf"t.parquet, {message}"):
        read(parquet(v=array), table(v=datatype))


def test_nan_is_null_and_counted_and_told_where_null_is_refused(parquet):
    path = parquet(v=[1.0, float("nan"), None, float("nan")], w=[1, 2, 3, 2**40])
    found = read(path, table(v="DOUBLE", w="INTEGER"))
    assert found.rows["v"] == [1.0, None, None]
    assert found.nulled == 1
    found = read(path, table(v="DOUBLE!", w="INTEGER"))
    assert found.numbers == [1]
    assert [reject.column for reject in found.rejects] == ["v"] * 3


def test_row_groups_are_read_by_themselves(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"v": [1] * 36 + [70000] + [1] * 20}), path, row_group_size=10
    )
    monkeypatch.setattr(module, "_PIECE", 100)
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    (file,) = inputs.find("T", [path])
    pieces = formats.pieces(table(v="SMALLINT"), file)
    assert len(pieces) > 2
    assert sum(formats.count(piece) for piece in pieces) == formats.count(file) == 57
    last = list(formats.read(pieces[-1]))
    assert int(last[-1].numbers[-1]) == 57
    (reject,) = read(path, table(v="SMALLINT")).rejects
    assert (reject.row, reject.value) == (37, "70000")


def test_a_truncated_or_spoilt_file_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"v": list(range(100_000))}), path, write_page_checksum=True
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadContribution, match=r"t.parquet: is not a whole Parquet"):
        read(path, table(v="BIGINT"))
    path.write_bytes(whole[:1000] + bytes(2000) + whole[3000:])
    with pytest.raises(BadContribution, match=r"t.parquet: cannot be read beyond row"):
        read(path, table(v="BIGINT"))


def test_without_page_checksums_a_flipped_bit_is_an_answer(tmp_path, monkeypatch):
    """The guarantee: without the check another value would be loaded."""
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"v": [1.5] * 50}),
        path,
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
    )
    content = bytearray(path.read_bytes())
    content[content.index(b"\xf8\x3f") + 400] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadContribution, match="CRC"):
        read(path, table(v="DOUBLE"))
    checked = pq.ParquetFile

    def unchecked(*given, **options):
        return checked(*given, **{**options, "page_checksum_verification": False})

    monkeypatch.setattr(module.pq, "ParquetFile", unchecked)
    assert read(path, table(v="DOUBLE")).rows["v"] != [1.5] * 50


def test_a_footer_that_says_other_rows_than_there_are(tmp_path):
    """Else rows would be lost: of a group, Arrow reads as many as the footer says."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": list(range(57))}), path, compression="none")
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    there = [i for i in range(footer, len(whole)) if whole[i] == 2 * 57]
    told = []
    for at in (*((i,) for i in there), there):
        content = bytearray(whole)
        for i in at:
            content[i] = 2 * 58
        path.write_bytes(content)
        try:
            assert len(read(path, table(v="BIGINT")).numbers) == 57
        except BadContribution as error:
            told.append(error.text.removeprefix(f"{path}: is spoilt: "))
    assert told == [
        "it says 58 rows, and 57 of its groups",
        "it says 57 rows, and 58 of its groups",
        "it has 57 rows from row 1, and says 58",
    ]


def test_columns_in_any_order_and_left_out(parquet):
    path = parquet(Q=[[1]], b=[2.5], A=[1])
    into = table(a="BIGINT", b="DOUBLE")
    with pytest.raises(BadContribution, match="column Q is not in table T"):
        read(path, into)
    assert read(path, into, ignore=frozenset({"q"})).rows == {"a": [1], "b": [2.5]}
    with pytest.raises(BadContribution, match="column a is to be ignored, but table T"):
        read(path, into, ignore=frozenset({"q", "A"}))


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_files_and_streams(tmp_path, stream):
    data = pa.table({"v": [1, None, 2**40], "s": pa.array(["é", "", None])})
    path = tmp_path / ("t.arrows" if stream else "t.feather")
    if stream:
        with pa.ipc.new_stream(str(path), data.schema) as writer:
            writer.write_table(data)
    else:
        pyarrow.feather.write_feather(data, path, compression="zstd")
    found = read(path, table(s="VARCHAR", v="INTEGER"))
    assert found.rows == {"s": ["é", ""], "v": [1, None]}
    assert found.reasons == [(3, "v", str(2**40))]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadContribution, match=path.name):
        read(path, table(s="VARCHAR", v="INTEGER"))


@pytest.mark.parametrize("writer", [pa.ipc.new_stream, pa.ipc.new_file])
def test_an_arrow_stream_cut_off_anywhere_is_refused(tmp_path, writer):
    """Between two batches, too, where Arrow itself takes it for ended."""
    path, data = tmp_path / "t.arrow", pa.table({"v": list(range(30))})
    with writer(str(path), data.schema) as file:
        file.write_table(data, max_chunksize=10)
    whole = path.read_bytes()
    assert len(read(path, table(v="BIGINT")).numbers) == 30
    for size in range(0, whole.rindex(b"\xff\xff\xff\xff\0\0\0\0"), 8):
        path.write_bytes(whole[:size])
        with pytest.raises(BadContribution, match=r"t\.arrow: "):
            read(path, table(v="BIGINT"))


def test_meaning_is_kept(tmp_path):
    path = tmp_path / "t.parquet"
    field = pa.field("v", pa.int64(), metadata={"unit": "deg", "ucd": "pos.eq.ra"})
    pq.write_table(pa.table([[1]], schema=pa.schema([field])), path)
    assert schema_of(path).field("v").metadata == {
        b"unit": b"deg",
        b"ucd": b"pos.eq.ra",
    }


def test_meaning_is_taken_from_voparquet_and_astropy(tmp_path):
    plain = Astropy({"ra": [1.5, 2.5], "dec": [0.0, 1.0], "n": [3, 4]})
    vo, own = tmp_path / "vo.parquet", tmp_path / "astropy.parquet"
    nothing = {"unit": "", "ucd": "", "description": "", "utype": ""}
    ra = nothing | {"unit": "deg", "ucd": "pos.eq.ra;meta.main"}
    said = {"ra": ra, "dec": nothing, "n": nothing}
    plain.write(vo, format="parquet.votable", metadata=said)
    plain["ra"].unit, plain["ra"].description = "deg", "Right ascension"
    plain["ra"].meta["ucd"] = "pos.eq.ra;meta.main"
    plain.write(own)
    expected = {b"unit": b"deg", b"ucd": b"pos.eq.ra;meta.main"}
    assert schema_of(vo).field("ra").metadata == expected
    expected[b"description"] = b"Right ascension"
    found = schema_of(own)
    assert found.field("ra").metadata == expected
    assert not found.field("n").metadata
    assert [str(kind) for kind in found.types] == ["double", "double", "int64"]
    assert schema_of(vo).types == found.types


def test_what_a_column_says_itself_goes_first(tmp_path):
    path = tmp_path / "t.parquet"
    field = pa.field("v", pa.int64(), metadata={"unit": "mag"})
    document = (
        "<VOTABLE><RESOURCE><TABLE><FIELD name='v' datatype='char' unit='deg' ucd='x'/>"
        "<FIELD name='other' datatype='int'/></TABLE></RESOURCE></VOTABLE>"
    )
    notes = {"IVOA.VOTable-Parquet.content": document}
    pq.write_table(pa.table([[1]], schema=pa.schema([field], notes)), path)
    assert schema_of(path).field("v") == field
    assert schema_of(path).field("v").metadata == {b"unit": b"mag", b"ucd": b"x"}


@pytest.mark.parametrize(
    ("key", "note", "message"),
    [
        ("IVOA.VOTable-Parquet.content", "<VOTABLE>", "it is truncated"),
        ("IVOA.VOTable-Parquet.content", "<VOTABLE/>", "has no table"),
        ("table_meta_yaml", "datatype: [", "its header is no YAML"),
        ("table_meta_yaml", "meta: 3", "its header says no columns"),
    ],
)
def test_notes_that_make_no_sense(tmp_path, key, note, message):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table([[1]], schema=pa.schema({"v": pa.int64()}, {key: note})), path
    )
    with pytest.raises(
        BadContribution, match=rf"t.parquet: .*{message}.*metadata {key}"
    ):
        schema_of(path)


def test_what_astropy_masks_is_null(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    masked = MaskedColumn([1, 2, 3], mask=[0, 1, 0], unit="ct")
    Astropy({"n": masked, "x": [0.5, 1.5, 2.5]}).write(path)
    into = table(n="INTEGER", x="DOUBLE")
    assert schema_of(path).names == ["n", "x"]
    assert read(path, into).rows == {"n": [1, None, 3], "x": [0.5, 1.5, 2.5]}
    assert look("T", [path], Reading()).sight.unique == set()
    monkeypatch.setattr(module.ecsv, "masks", lambda *_: {})
    hidden = frozenset({"n.mask"})
    assert read(path, into, ignore=hidden).rows["n"] == [1, 2, 3]
