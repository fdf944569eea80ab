"""A text that is longer than its column is a bad row, whatever file it stands in."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from support.reading import read, table

from qserv.ingest.formats import values

TEXTS = ["ab", "", "abc", "\u010ce", "\U0001f30c\u010c", "\u010cer", None]
INTO = table(n="INTEGER", v="VARCHAR(2)!")


def _csv(path):
    lines = [f'{n},"{text}"' for n, text in enumerate(TEXTS, 1)]
    path.write_text("\n".join(["n,v", *lines]).replace('"None"', "") + "\n")


def _parquet(path):
    pq.write_table(pa.table({"n": range(1, 8), "v": TEXTS}), path)


@pytest.mark.parametrize("write", [_csv, _parquet])
def test_characters_count_and_not_bytes(tmp_path, write):
    path = tmp_path / f"t.{write.__name__[1:]}"
    write(path)
    found = read(path, INTO)
    assert found.rows["v"] == ["ab", "", "\u010ce", "\U0001f30c\u010c"]
    assert [(r.row, r.column, r.value, r.reason) for r in found.rejects] == [
        (3, "v", "abc", "'abc' has 3 characters; the column takes 2"),
        (6, "v", "\u010cer", "'\u010cer' has 3 characters; the column takes 2"),
        (7, "v", "NULL", "it is NULL or NaN, but the column has none"),
    ]


def test_what_fills_up_a_text_of_fits_is_none_of_it(tmp_path):
    path = tmp_path / "t.fits"
    column = fits.Column("v", "4A", array=["ab  ", "a   ", "abc ", "abcd"])
    fits.BinTableHDU.from_columns([column]).writeto(path)
    assert [r.row for r in read(path, table(v="VARCHAR(2)")).rejects] == [3, 4]


@pytest.mark.parametrize("how", ["tabledata", "binary2"])
def test_votable(tmp_path, how):
    path = tmp_path / "t.vot"
    Table({"v": ["ab", "abc"]}).write(path, format="votable", tabledata_format=how)
    assert [r.row for r in read(path, table(v="VARCHAR(2)")).rejects] == [2]


def test_without_the_check_a_long_text_is_stored(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    _parquet(path)
    monkeypatch.setattr(values, "_too_long", lambda *_: None)
    assert "abc" in read(path, INTO).rows["v"]
