"""FITS, VOTable and ECSV, written by astropy, become rows in the table's types."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import MaskedColumn
from astropy.table import Table as Astropy
from support.reading import read, schema_of, table

from qserv.errors import BadContribution
from qserv.ingest import formats, inputs
from qserv.ingest.formats import ecsv, votable
from qserv.ingest.formats import fits as module

NAN = float("nan")
INTO = table(
    i="SMALLINT", u="INTEGER", small="SMALLINT", big="BIGINT", k="BIGINT",
    d="DOUBLE", e="REAL", s="VARCHAR", t="BOOLEAN", x="BOOLEAN", scaled="DOUBLE",
)  # fmt: skip
EXPECTED = {
    "i": [1, None, 32767],
    "u": [0, 40000, 65535],
    "small": [-128, 0, 127],
    "big": [0, 2**63 - 1, 5],
    "k": [-(2**63), 2**63 - 1, 0],
    "d": [1.5, None, float("inf")],
    "e": [0.5, None, -1.0],
    "s": ["abc", "", "d e f"],
    "t": [True, None, False],
    "x": [True, False, True],
    "scaled": [10.5, 11.0, 12.0],
}


@pytest.fixture
def bintable(tmp_path):
    column = fits.Column
    columns = [
        column("i", "I", null=-1, array=np.array([1, -1, 32767])),
        column("u", "I", bzero=2**15, array=np.array([0, 40000, 65535], "u2")),
        column("small", "B", bzero=-128, array=np.array([-128, 0, 127], "i1")),
        column("big", "K", bzero=2**63, array=np.array([0, 2**63 - 1, 5], "u8")),
        column("k", "K", unit="ct", array=np.array([-(2**63), 2**63 - 1, 0])),
        column("d", "D", unit="deg", array=[1.5, NAN, np.inf]),
        column("e", "E", array=[0.5, NAN, -1]),
        column("s", "5A", array=["abc", "", "d e f"]),
        column("t", "L", array=[True, True, False]),
        column("x", "1X", array=np.array([[1], [0], [1]], bool)),
        column("scaled", "E", bscale=0.5, bzero=10, array=np.array([10.5, 11, 12])),
        column("v", "3J", array=np.arange(9).reshape(3, 3)),
        column("q", "PJ()", array=np.array([[1], [1, 2], []], object)),
    ]
    catalog = fits.BinTableHDU.from_columns(columns, name="CAT")
    catalog.header["TUCD6"] = "pos.eq.ra"
    catalog.header.comments["TTYPE6"] = "Right ascension"
    image = fits.ImageHDU(np.zeros((40, 40)), name="IMG")
    other = fits.BinTableHDU.from_columns([column("z", "J", array=[7])], name="Other")
    path = tmp_path / "t.fits"
    fits.HDUList([fits.PrimaryHDU(), image, catalog, other]).writeto(path)
    # What no writer of astropy's makes: a logical value that is neither.
    content = bytearray(path.read_bytes())
    row = content.index(b"abc\0\0T")
    width = content.index(b"d e fF") - row
    content[row + width // 2 + 5] = 0
    path.write_bytes(content)
    return path


LEFT = frozenset({"V", "q"})


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_binary_tables(bintable, suffix, rows, monkeypatch):
    monkeypatch.setattr(module, "BATCH_ROWS", rows)
    path = bintable
    if suffix:
        path = bintable.with_name(f"t.fits{suffix}")
        with pa.CompressedOutputStream(
            str(path), {".gz": "gzip", ".zst": "zstd"}[suffix]
        ) as file:
            file.write(bintable.read_bytes())
    found = read(path, INTO, ignore=LEFT)
    assert found.rows == EXPECTED
    assert found.nulled == 2
    assert found.numbers == [1, 2, 3]


def test_scaled_whole_numbers_with_null(tmp_path):
    path = tmp_path / "t.fits"
    numbers = np.array([0, 1, -99, -1], np.int16)
    column = fits.Column("v", "I", null=-99, array=numbers)
    fits.BinTableHDU.from_columns([column]).writeto(path)
    fits.setval(path, "TSCAL1", value=0.1, ext=1)
    fits.setval(path, "TZERO1", value=5.0, ext=1)
    expected = fits.getdata(path)["v"].tolist()
    expected[2] = None
    assert read(path, table(v="DOUBLE")).rows["v"] == expected == [5, 5.1, None, 4.9]


@pytest.mark.parametrize(
    ("scale", "zero"),
    [(1, 1000), (1, -1000), (1, 2**63 + 2), (-1, -1), (3.0, 2**63), (2**63, 2**63)],
)
def test_whole_numbers_scaled_by_whole_ones_keep_their_last_digits(
    tmp_path, scale, zero
):
    """What is stored, times TSCAL, plus TZERO: FITS 4.0, section 7.3.2."""
    path = tmp_path / "t.fits"
    stored = [2**53 + 1, -(2**53) - 1, -(2**62) + 1, 0, -99]
    column = fits.Column("v", "K", null=-99, array=np.array(stored))
    fits.BinTableHDU.from_columns([column]).writeto(path)
    fits.setval(path, "TSCAL1", value=scale, ext=1)
    fits.setval(path, "TZERO1", value=zero, ext=1)
    found = read(path, table(v="BIGINT"))
    exact = [value * int(scale) + zero for value in stored[:-1]]
    held = [value for value in exact if -(2**63) <= value < 2**63]
    assert found.rows["v"] == [*held, None]
    assert [r.value for r in found.rejects] == [str(v) for v in exact if v not in held]


def test_small_numbers_with_an_offset_are_whole_numbers(tmp_path):
    path = tmp_path / "t.fits"
    column = fits.Column("v", "J", array=np.array([-(2**31), 2**31 - 1]))
    fits.BinTableHDU.from_columns([column]).writeto(path)
    fits.setval(path, "TZERO1", value=10**15, ext=1)
    assert schema_of(path).field("v").type == pa.int64()
    expected = [10**15 - 2**31, 10**15 + 2**31 - 1]
    assert read(path, table(v="BIGINT")).rows["v"] == expected


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("TSCAL1", 0.0, "TSCAL1 is 0.0, which leaves nothing"),
        ("TSCAL1", "inf", "TSCAL1 is 'inf', no number"),
        ("TZERO1", "1", "TZERO1 is '1', no number"),
        ("TNULL1", -99.0, "TNULL1 is -99.0, no whole number"),
    ],
)
def test_numbers_about_numbers_that_are_none(tmp_path, keyword, value, message):
    """Else all values would be one, or -99 a value."""
    path = tmp_path / "t.fits"
    fits.BinTableHDU.from_columns([fits.Column("v", "J", array=[-99])]).writeto(path)
    fits.setval(path, keyword, value=value, ext=1)
    with pytest.raises(BadContribution, match=message):
        read(path, table(v="BIGINT"))


def test_which_table_of_a_fits_file(bintable):
    other = table(z="INTEGER")
    assert read(bintable, other, table="OTHER").rows == {"z": [7]}
    assert read(bintable, other, table=3).rows == {"z": [7]}
    with pytest.raises(BadContribution, match="HDU is no table, but an image"):
        read(bintable, other, table=1)
    with pytest.raises(
        BadContribution, match="has no table none; its HDUs are 0 PRIMARY, 1 IMG, 2 CAT"
    ):
        read(bintable, other, table="none")


def test_arrays_are_refused_by_name(bintable):
    into = table(q="INTEGER")
    with pytest.raises(
        BadContribution, match=r"t.fits, column q: has several values .*`ignore:`"
    ):
        read(bintable, into, ignore=frozenset({*EXPECTED, "v"}))


def test_the_columns_of_a_binary_table(bintable):
    found = schema_of(bintable, ignore=LEFT)
    assert found.names == list(EXPECTED)
    assert [str(kind) for kind in found.types] == [
        "int16", "uint16", "int8", "uint64", "int64", "double", "float", "string",
        "bool", "bool", "double",
    ]  # fmt: skip
    assert found.field("d").metadata == {
        b"unit": b"deg", b"ucd": b"pos.eq.ra", b"description": b"Right ascension",
    }  # fmt: skip
    (file,) = inputs.find("T", [bintable])
    assert formats.count(file) == 3
    (batch,) = formats.raw(file, inputs.ReadOptions(ignore=LEFT))
    assert batch.column("s").to_pylist() == EXPECTED["s"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"TFORM3  = 'B ", b"TFORM3  = 'Y ", "TFORM3 is 'Y'"),
        (
            b"NAXIS2  =                    3",
            b"NAXIS2  =                   -3",
            "NAXIS2",
        ),
        (
            b"NAXIS2  =                    3",
            b"NAXIS2  =                  0_3",
            "NAXIS2 is '0_3'",
        ),
        (
            b"TFIELDS =                   13",
            b"TFIELDS =                   12",
            "NAXIS1",
        ),
        (b"SIMPLE  =", b"SAMPLE  =", "does not begin as fits does"),
    ],
)
def test_headers_that_make_no_sense(bintable, old, new, message):
    content = bintable.read_bytes()
    assert old in content
    bintable.write_bytes(content.replace(old, new))
    with pytest.raises(BadContribution, match=f"t.fits: .*{message}"):
        read(bintable, INTO, ignore=LEFT)


def test_a_truncated_binary_table(bintable):
    content = bintable.read_bytes()
    bintable.write_bytes(content[: content.index(b"d e fF") - 3])
    with pytest.raises(BadContribution, match="ends in row 3 of 3: it is truncated"):
        read(bintable, INTO, ignore=LEFT)


def test_a_packed_binary_table_is_checked_to_its_end(tmp_path):
    """Behind its last row stands what tells that a bit was turned in one before."""
    path, packed = tmp_path / "t.fits", tmp_path / "t.fits.gz"
    column = fits.Column("v", "J", array=np.arange(1000))
    fits.BinTableHDU.from_columns([column]).writeto(path)
    content = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))
    packed.write_bytes(content)
    assert read(packed, table(v="INTEGER")).rows["v"] == list(range(1000))
    content[content.index((900).to_bytes(4, "big"))] ^= 1
    packed.write_bytes(content)
    with pytest.raises(BadContribution, match=r"t.fits.gz: cannot be read"):
        read(packed, table(v="INTEGER"))


def astropy_table():
    masked = [False, True, False]
    found = Astropy(
        {
            "k": MaskedColumn([-(2**63) + 1, 0, 2**63 - 1], mask=masked),
            "d": MaskedColumn([1.5, 0, np.inf], mask=masked, unit="deg"),
            "e": np.array([0.5, NAN, -1], "f4"),
            "s": MaskedColumn(['é "x",\n<&>', "", "b"], mask=masked),
            "t": [True, False, True],
            "h": np.array([1, -2, 3], "i2"),
        }
    )
    found["d"].description = "Right ascension"
    return found


SKY = table(t="BOOLEAN", k="BIGINT", d="DOUBLE", e="REAL", s="VARCHAR", h="INTEGER")
SKY_ROWS = {
    "t": [True, False, True],
    "k": [-(2**63) + 1, None, 2**63 - 1],
    "d": [1.5, None, float("inf")],
    "e": [0.5, None, -1.0],
    "s": ['é "x",\n<&>', None, "b"],
    "h": [1, -2, 3],
}


@pytest.mark.parametrize("delimiter", [" ", ","])
@pytest.mark.parametrize("packed", [False, True])
def test_ecsv(tmp_path, delimiter, packed):
    path = tmp_path / "t.ecsv"
    astropy_table().write(path, format="ascii.ecsv", delimiter=delimiter)
    if packed:
        content = gzip.compress(path.read_bytes())
        path = tmp_path / "t.ecsv.gz"
        path.write_bytes(content)
    assert read(path, SKY).rows == SKY_ROWS
    found = schema_of(path)
    assert [str(kind) for kind in found.types] == [
        "int64", "double", "float", "string", "bool", "int16",
    ]  # fmt: skip
    assert found.field("d").metadata == {
        b"unit": b"deg", b"description": b"Right ascension",
    }  # fmt: skip
    (file,) = inputs.find("T", [path])
    (batch,) = formats.raw(file)
    assert batch.column("k").to_pylist() == SKY_ROWS["k"]


def test_rows_of_ecsv_are_numbered_behind_the_header(tmp_path):
    path = tmp_path / "t.ecsv"
    path.write_text(
        "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\n"
        "# - {name: b, datatype: string, subtype: json}\na b\n1 x\n2\nz y\n4 z\n"
    )
    found = read(path, table(a="BIGINT"), ignore=frozenset({"b"}))
    assert found.numbers == [1, 4]
    assert found.reasons == [(2, "", "2"), (3, "a", "z")]
    with pytest.raises(BadContribution, match=r"t.ecsv, column b: has several"):
        read(path, table(a="BIGINT", b="VARCHAR"))


def test_masks_of_ecsv_hide_values(tmp_path):
    path = tmp_path / "t.ecsv"
    sky = astropy_table()
    sky.write(path, format="ascii.ecsv", serialize_method="data_mask")
    assert "k.mask" in path.read_text()
    assert read(path, SKY).rows == SKY_ROWS
    assert schema_of(path).names == ["k", "d", "e", "s", "t", "h"]
    (file,) = inputs.find("T", [path])
    (batch,) = formats.raw(file)
    assert batch.to_pydict()["k"] == SKY_ROWS["k"]


def test_an_empty_line_of_ecsv_is_no_row(tmp_path):
    path = tmp_path / "t.ecsv"
    sky = Astropy({"a": MaskedColumn([1, 2, 3], mask=[False, True, False])})
    sky.write(path, format="ascii.ecsv")
    path.write_text(path.read_text().replace("\n3", "\n\n3") + "\n\n")
    assert read(path, table(a="BIGINT")).rows == {"a": [1, None, 3]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin as ecsv does"),
        ("# %ECSV 1.0\n# ---\n", "nothing behind it"),
        ("# %ECSV 1.0\n# ---\n# [\na\n1\n", "its header is no YAML"),
        ("# %ECSV 1.0\n# ---\n# " + "[" * 5000 + "\na\n1\n", "its header is no YAML"),
        ("# %ECSV 1.0\n# ---\n# x: 1\na\n1\n", "says no columns"),
        ("# %ECSV 1.0\n# ---\n# x: \udcff\na\n1\n", "cannot be read: 'utf-8' codec"),
        (
            "# %ECSV 1.0\n# ---\n# datatype: [{name: b, datatype: int8}]\na\n1\n",
            "but the line",
        ),
        (
            "# %ECSV 1.0\n# ---\n# datatype: [{name: a, datatype: z}]\na\n1\n",
            "has type z",
        ),
    ],
)
def test_headers_of_ecsv_that_make_no_sense(tmp_path, text, message):
    path = tmp_path / "t.ecsv"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(BadContribution, match=rf"t.ecsv.* {message}"):
        read(path, table(a="BIGINT"))


def test_yaml_makes_no_objects(tmp_path):
    mark = tmp_path / "made"
    path = tmp_path / "t.ecsv"
    path.write_text(
        f'# %ECSV 1.0\n# ---\n# meta: !!python/object/apply:os.mkdir ["{mark}"]\n'
        "# datatype: [{name: a, datatype: int8}]\na\n1\n"
    )
    assert read(path, table(a="BIGINT")).rows == {"a": [1]}
    assert not mark.exists()
    assert ecsv.count(None) is None


@pytest.mark.parametrize("serialization", ["tabledata", "binary", "binary2"])
@pytest.mark.parametrize("block", [100, 2**18])
def test_votable(tmp_path, serialization, block, monkeypatch):
    monkeypatch.setattr(votable, "_BLOCK", block)
    monkeypatch.setattr(votable, "_ROWS", 1)
    document = from_table(astropy_table())
    first = document.get_first_table()
    first.fields[0].values.null = -5
    first.fields[1].ucd = "pos.eq.ra"
    path = tmp_path / "t.vot"
    document.to_xml(str(path), tabledata_format=serialization)
    found = read(path, SKY)
    assert found.rows == SKY_ROWS
    assert found.numbers == [1, 2, 3]
    schema = schema_of(path)
    assert [str(kind) for kind in schema.types] == [
        "int64", "double", "float", "string", "bool", "int16",
    ]  # fmt: skip
    assert schema.field("d").metadata == {
        b"unit": b"deg", b"ucd": b"pos.eq.ra", b"description": b"Right ascension",
    }  # fmt: skip
    (file,) = inputs.find("T", [path])
    rows = pa.Table.from_batches(formats.raw(file)).to_pydict()
    assert rows["k"] == SKY_ROWS["k"]
