"""ASCII tables of FITS become rows in the table's types, as astropy reads them."""

import numpy as np
import pytest
from astropy.io import fits
from support.reading import read, schema_of, table

from qserv.catalog.sidecar import Reading
from qserv.errors import BadContribution
from qserv.ingest.formats import fits as module
from qserv.ingest.looking import look

VALUES = [
    # text, whole, fixed, scientific, scaled
    ("ab", "1", "1.5", "1.5E+02", "10"),
    ("  c", "-2", "-0.25", "-2.5D-03", "--"),
    ("", "--", "nil", "1.25-1", "7"),
    ("a b", "", "", "+12", ""),
    ("--", "7", "125", "9", "8"),
]
ROWS = ["{:4}{:>6} {:>6}{:>11}{:>4}".format(*v).encode() for v in VALUES]
CARDS = [
    ("TFORM1", "A4"), ("TBCOL1", 1), ("TTYPE1", "s"), ("TNULL1", "--"),
    ("TFORM2", "I6"), ("TBCOL2", 5), ("TTYPE2", "i"), ("TNULL2", "--"),
    ("TFORM3", "F6.2"), ("TBCOL3", 12), ("TTYPE3", "f"), ("TNULL3", "nil"),
    ("TUNIT3", "mag"),
    ("TFORM4", "E11.3"), ("TBCOL4", 18), ("TTYPE4", "e"),
    ("TFORM5", "I4"), ("TBCOL5", 29), ("TTYPE5", "z"), ("TNULL5", "--"),
    ("TSCAL5", 0.5), ("TZERO5", 100.0),
]  # fmt: skip
INTO = table(s="VARCHAR", i="INTEGER", f="REAL", e="DOUBLE", z="DOUBLE")


@pytest.fixture
def written(tmp_path):
    """A table of another's hand: NULLs, points and letters that are left out."""

    def write(*cards, rows=ROWS):
        header = fits.Header()
        width = len(rows[0])
        for card in [
            ("XTENSION", "TABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", width),
            ("NAXIS2", len(rows)), ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", 5),
            *CARDS, *cards,
        ]:  # fmt: skip
            header[card[0]] = card[1]
        data = b"".join(rows)
        path = tmp_path / "t.fits"
        fits.PrimaryHDU().writeto(path, overwrite=True)
        with path.open("ab") as file:
            file.write(header.tostring().encode())
            file.write(data.ljust(-(-len(data) // 2880) * 2880))
        return path

    return write


@pytest.mark.parametrize("rows", [1, 1000])
def test_as_the_standard_says(written, rows, monkeypatch):
    monkeypatch.setattr(module, "BATCH_ROWS", rows)
    found = read(written(), INTO)
    assert found.rejects == []
    assert found.rows == {
        "s": ["ab", "  c", "", "a b", None],
        "i": [1, -2, None, 0, 7],
        "f": [1.5, -0.25, None, 0.0, 1.25],
        "e": [150.0, -0.0025, 0.125, 0.012, 0.009],
        "z": [105.0, None, 103.5, 100.0, 104.0],
    }


def test_columns_and_types_are_those_of_the_header(written):
    found = schema_of(written())
    assert [(f.name, str(f.type)) for f in found] == [
        ("s", "string"), ("i", "int64"), ("f", "double"), ("e", "double"),
        ("z", "double"),
    ]  # fmt: skip
    assert found.field("f").metadata == {b"unit": b"mag"}


def test_a_value_that_is_none_is_a_bad_row(written):
    rows = [row.replace(b"-2 ", b"1x ").replace(b"  10", b" 1.x") for row in ROWS]
    assert read(written(rows=rows), INTO).reasons == [
        (1, "z", "1.x"),
        (2, "i", "1x"),
    ]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (("TBCOL5", 30), "column 5 has 4 characters from 30, but a row 32"),
        (("TBCOL1", 0), "column 1 has 4 characters from 0"),
        (("TFORM2", "J"), "TFORM2 is 'J'"),
        (("TSCAL5", "x"), "TSCAL5 is 'x'"),
    ],
)
def test_headers_that_make_no_sense(written, card, message):
    with pytest.raises(BadContribution, match=f"t.fits: is no whole FITS .*{message}"):
        read(written(card), INTO)


def test_what_astropy_writes_it_reads(tmp_path):
    rng = np.random.default_rng(7)
    values = {
        "n": rng.integers(-(10**9), 10**9, 100),
        "x": rng.normal(size=100) * 10.0 ** rng.integers(-30, 30, 100),
        "s": np.array([f" {i}"[: i % 4] for i in range(100)]),
    }
    columns = [
        fits.Column("n", "I11", array=values["n"], ascii=True),
        fits.Column("x", "D25.17", array=values["x"], ascii=True),
        fits.Column("s", "A4", array=values["s"], ascii=True),
    ]
    path = tmp_path / "t.fits.gz"
    fits.TableHDU.from_columns(columns).writeto(path)
    found = read(path, table(n="BIGINT", x="DOUBLE", s="VARCHAR"))
    theirs = fits.getdata(path)
    assert found.rows["n"] == theirs["n"].tolist() == values["n"].tolist()
    assert found.rows["x"] == theirs["x"].tolist() == values["x"].tolist()
    assert found.rows["s"] == [text.rstrip() for text in theirs["s"]]


def test_tables_that_others_must_unpack(tmp_path):
    """An image that is compressed is no table, and a table that is cannot be read."""
    rows = fits.BinTableHDU.from_columns([fits.Column("n", "J", array=[1])])
    image = fits.CompImageHDU(np.zeros((8, 8), np.int16))
    path = tmp_path / "t.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), image, rows]).writeto(path)
    assert read(path, table(n="INTEGER")).rows == {"n": [1]}
    rows.header["ZTABLE"] = True
    rows.writeto(path, overwrite=True)
    with pytest.raises(BadContribution, match="tile by tile; unpack"):
        read(path, table(n="INTEGER"))


def test_its_ids_are_seen_as_numbers(written):
    seen = look("T", [written(rows=[ROWS[0], ROWS[4]])], Reading()).sight
    assert (seen.unique, str(seen.columns[1].datatype)) == ({"i"}, "BIGINT")
