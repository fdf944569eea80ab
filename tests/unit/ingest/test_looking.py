"""What is seen of files holds all of their rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from qserv.catalog.sidecar import Reading
from qserv.catalog.tables import DataType
from qserv.errors import BadContribution, InvalidRequest
from qserv.ingest import looking
from qserv.ingest.looking import look

PLAIN = Reading()


def types(seen):
    return {c.name: str(c.datatype) for c in seen.sight.columns}


def csv(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_parquet_says_types_in_every_footer(tmp_path):
    meaning = {"unit": "deg", "ucd": "pos.eq.ra;meta.main", "description": "RA"}
    first = pa.schema(
        [
            pa.field("ra", pa.float32(), metadata=meaning),
            pa.field("n", pa.int16()),
            pa.field("none", pa.null()),
            pa.field("late", pa.null()),
        ]
    )
    rows = [pa.array([1.0], pa.float32()), pa.array([1], pa.int16())]
    rows += [pa.nulls(1), pa.nulls(1)]
    pq.write_table(pa.table(rows, schema=first), tmp_path / "a.parquet")
    later = {"late": [1], "none": pa.nulls(1), "N": [2**40], "ra": [0.5]}
    second = pa.table(later)
    pq.write_table(second, tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    seen = look("T", files, PLAIN)
    assert types(seen) == {
        "ra": "DOUBLE",
        "n": "BIGINT",
        "none": "VARCHAR",
        "late": "BIGINT",
    }
    assert seen.sight.columns[0].ucd == "pos.eq.ra;meta.main"
    assert (seen.files, seen.rows, seen.whole) == (2, 0, True)
    assert seen.empty == {"none"}
    assert look("T", files[:1], PLAIN).sight.columns[1].datatype is DataType.SMALLINT


def test_the_last_row_of_a_csv_counts(tmp_path):
    path = csv(tmp_path / "a.csv", "x,y", *["1,1"] * 200_000, "1.5,z")
    seen = look("T", [path], PLAIN)
    assert types(seen) == {"x": "DOUBLE", "y": "VARCHAR"}
    assert (seen.rows, seen.whole) == (200_001, True)


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        (["1", "2.5"], "DOUBLE"),
        (["2.5", "1"], "DOUBLE"),
        (["9000000000000000000", "1"], "BIGINT"),
        # Whole numbers that a DOUBLE would round, with others that are not whole.
        (["9000000000000000000", "1.5"], "VARCHAR"),
        (["1.5", "9000000000000000001"], "VARCHAR"),
        (["1.5", "1e300", "-1e300"], "DOUBLE"),
        (["1", "true"], "VARCHAR"),
        (["true", "FALSE"], "BOOLEAN"),
        (["2024-01-01", "2024-01-01T00:00:01.5"], "TIMESTAMP"),
        (["2024-01-01", "1"], "VARCHAR"),
        (["2024-01-01T00:00:00Z", "null"], "TIMESTAMP"),
        (["--", "1", "+5"], "BIGINT"),
        (["N/A", "1.5D3"], "DOUBLE"),
        (["0x1F", "0xFFFFFFFFFFFFFFFF"], "VARCHAR"),
        (["1.5", "1e400"], "VARCHAR"),
        (["1", "1.0"], "DOUBLE"),
        (["null", "a"], "VARCHAR"),
        (["T", "F"], "VARCHAR"),
    ],
)
def test_a_type_fits_all_texts_wherever_they_stand(tmp_path, values, datatype):
    together = csv(tmp_path / "a.csv", "x,n", *(f"{v},1" for v in values))
    assert types(look("T", [together], PLAIN))["x"] == datatype
    apart = [csv(tmp_path / f"{i}.csv", "x,n", f"{v},1") for i, v in enumerate(values)]
    assert types(look("T", apart, PLAIN))["x"] == datatype


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (["1", "2.5", "x1"], "3: 'x1'"),
        (["x1", "null", "2", "3"], "1: 'x1'"),
        (["9000000000000000000", "12h", "1"], "2: '12h'"),
        (["1", "x1", "x2"], None),
        (["1", "true"], None),
        (["1", "2"], None),
        (["9000000000000000000", "1.5"], None),
        (["a", "1", "2", "3"] * 9, "1: 'a'"),
    ],
)
def test_the_first_text_between_numbers_is_known(tmp_path, values, place):
    # A line of another length is a row, too.
    lines = ["n,B-V", *(f"1,{value}" for value in values)]
    strays = look("T", [csv(tmp_path / "a.csv", *lines)], PLAIN).strays
    assert [each.place(short=True) for each in strays.values()] == (
        [f"a.csv, row {place}"] if place else []
    )


def test_rows_are_counted_as_a_load_counts_them(tmp_path):
    path = csv(tmp_path / "a.csv", "n,v", "1,1", "1", "1,2", "1,x")
    (stray,) = look("T", [path], PLAIN).strays.values()
    assert stray.place() == f"{path}, row 4: 'x'"


def test_beyond_the_limit_nothing_is_promised(tmp_path, monkeypatch):
    files = [csv(tmp_path / f"{n}.csv", "x", n) for n in ("1", "2.5", "z")]
    assert types(look("T", files, PLAIN)) == {"x": "VARCHAR"}
    seen = look("T", files, PLAIN, limit=2)
    assert (types(seen), seen.rows, seen.whole) == ({"x": "DOUBLE"}, 2, False)


def test_uniqueness_is_seen_in_a_sample(tmp_path, monkeypatch):
    path = csv(tmp_path / "a.csv", "id,n,s,half", "1,1,a,1", "2,1,b,", "2,3,c,2")
    seen = look("T", [path], PLAIN)
    assert (seen.sight.unique, seen.sight.rows) == ({"s"}, 3)
    monkeypatch.setattr(looking, "SAMPLE", 2)
    seen = look("T", [path], PLAIN)
    assert (seen.sight.unique, seen.sight.rows) == ({"id", "s"}, 2)


def test_columns_are_renamed_and_left_out(tmp_path):
    path = csv(tmp_path / "a.csv", "_x,B-V,b_v,2,__index_level_0__", "1,2,3,4,5")
    reading = Reading(ignore=("B_V",), rename={"2": "two"})
    seen = look("T", [path], reading, mend=True)
    assert types(seen) == {"B_V": "BIGINT", "two": "BIGINT"}
    assert seen.reading.ignore == ("B_V", "_x", "__index_level_0__")
    assert seen.reading.rename == {"2": "two", "B-V": "B_V"}


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (
            {"x": [1]},
            {"x": [1], "y": [2]},
            r"b.parquet has a column y, and .*a.parquet",
        ),
        (
            {"x": [1], "y": [2]},
            {"x": [1]},
            r"a.parquet has a column y, and .*b.parquet",
        ),
        (
            {"x": [1]},
            {"x": ["a"]},
            r"column x is VARCHAR in .*b.parquet, but BIGINT before",
        ),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, one, other, says):
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, rows in zip(files, (one, other), strict=True):
        pq.write_table(pa.table(rows), path)
    with pytest.raises(BadContribution, match=says):
        look("T", files, PLAIN)


def test_what_no_column_holds_can_be_ignored(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1], "blob": [b"1"]}), path)
    with pytest.raises(InvalidRequest, match=r"column blob has type binary"):
        look("T", [path], PLAIN)
    assert types(look("T", [path], Reading(ignore=("blob",)))) == {"x": "BIGINT"}


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("t.fits", {}, False),
        ("t.vot", {"format": "votable"}, True),
        ("t.ecsv", {}, True),
    ],
)
def test_files_that_say_units_types_and_meanings(tmp_path, name, how, said):
    made = Table({"id": np.arange(3, dtype=np.int16), "ra": [1.0, 2.0, 3.0]})
    made["ra"].unit = "deg"
    made["ra"].description = "Right ascension"
    made.write(tmp_path / name, **how)
    seen = look("T", [tmp_path / name], PLAIN).sight
    assert [(c.name, str(c.datatype), c.unit) for c in seen.columns] == [
        ("id", "SMALLINT", ""),
        ("ra", "DOUBLE", "deg"),
    ]
    assert seen.unique == {"id"}
    # astropy writes no descriptions into FITS.
    assert bool(seen.columns[1].description) is said
