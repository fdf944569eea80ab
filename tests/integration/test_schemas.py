"""A real survey's widest table on real processes: loaded, described, asked."""

from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import qserv
from qserv.catalog.felis import read_schema
from qserv.catalog.tables import DataType
from qserv.cli.main import main
from qserv.wire.codec import arrow_schema, columns_of

DP1 = str(files("lsst.sdm.schemas") / "dp1.yaml")
SIDECAR = """
overlap: 30
tables:
  Object: {kind: director, key: objectId, position: [coord_ra, coord_dec]}
"""
ROWS = 400


def values(column, rng):
    arrow = arrow_schema([column]).field(0).type
    if column.name == "objectId":
        return pa.array(np.arange(ROWS) + 2**40)
    if column.name in {"coord_ra", "coord_dec"}:
        return pa.array(rng.uniform(50, 55, ROWS))
    if column.datatype is DataType.BOOLEAN:
        return pa.array(rng.random(ROWS) < 0.5)
    if column.datatype is DataType.VARCHAR:
        return pa.array(["r"] * ROWS)
    return pa.array(rng.integers(0, 100, ROWS)).cast(arrow)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("dp1")
    (place / "dp1.sidecar.yaml").write_text(SIDECAR)
    return place


@pytest.fixture(scope="module")
def table(place):
    (found,) = read_schema(DP1, place / "dp1.sidecar.yaml", only=["Object"])
    return found


@pytest.fixture(scope="module")
def db(place, table):
    rng = np.random.default_rng(3)
    rows = {column.name: values(column, rng) for column in table.columns}
    pq.write_table(pa.table(rows), place / "object.parquet")
    with qserv.LocalCluster(2, place / "cluster") as db:
        db.load(
            "dp1",
            {"Object": place / "object.parquet"},
            schema=DP1,
            sidecar=place / "dp1.sidecar.yaml",
            leaf_rows=200,
        )
        yield db


def test_all_1296_columns_come_back_with_what_they_mean(db, table, place):
    given = pq.read_table(place / "object.parquet")
    query = "SELECT * FROM dp1.Object ORDER BY objectId"
    found = db.query(query).to_arrow()
    assert columns_of(found.schema) == table.columns
    assert len(table.columns) == 1296
    for name in ("objectId", "coord_ra", "r_psfFlux", "u_psfFlux_flag", "refBand"):
        assert found[name].to_pylist() == given[name].to_pylist()
    assert db.query("SELECT TOP 10 * FROM dp1.Object").to_arrow().num_rows == 10


def test_what_is_live_is_what_felis_said(db, table, place):
    found = db.tables("DP1")
    assert (found.release, found.tables) == ("dp1", (table,))
    assert db.status().find("dp1", "Object").columns == table.columns
    for option, name in (("--felis", "out.yaml"), ("--sidecar", "out.sidecar.yaml")):
        words = ["schema", "show", "dp1", option, "--czar", db.endpoint]
        (place / name).write_text(CliRunner().invoke(main, words).stdout)
    assert read_schema(place / "out.yaml") == (table,)


def test_stored_files_say_what_columns_mean(db, table, place):
    stored = [
        path
        for path in (place / "cluster").rglob("*.parquet")
        if "Object" in path.parts and "dataset" in path.parts
    ]
    assert stored
    for path in stored:
        assert columns_of(pq.read_schema(path))[-1296:] == table.columns


def test_a_reserved_word_is_a_column_that_is_quoted(db, place):
    (place / "small.csv").write_text("size,value\n7,8\n")
    sidecar = place / "small.sidecar.yaml"
    sidecar.write_text("tables: {Small: {kind: replicated}}")
    db.load("dp1", {"Small": place / "small.csv"}, sidecar=sidecar)
    found = db.query('SELECT "size", "value" FROM dp1.Small').to_arrow()
    assert found.to_pylist() == [{"size": 7, "value": 8}]


MESSY = """\
recno|RAJ2000|DEJ2000|B-V|_healpix_29|seen
1|10|-5|0.5|7|2024-01-01
2|11|-6|-99|7|
"""
PIPED = """
tables:
  Star:
    kind: director
    key: recno
    position: [RAJ2000, DEJ2000]
    read: {delimiter: "|", nulls: ["", "-99"]}
"""


def run(*words):
    found = CliRunner().invoke(main, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_draft_loads_the_files_that_it_was_made_of(db, place):
    messy = place / "stars.csv"
    messy.write_text(MESSY)
    piped = place / "piped.sidecar.yaml"
    piped.write_text(PIPED)
    run("schema", "infer", f"Star={messy}", "--sidecar", piped, "-o", place / "v.yaml")
    czar = ("--czar", db.endpoint)
    run("load", "viz", "--schema", place / "v.yaml", f"Star={messy}", *czar)
    found = db.query("SELECT * FROM viz.Star ORDER BY recno").to_arrow().to_pylist()
    assert [list(row.values())[:4] for row in found] == [
        [1, 10.0, -5.0, 0.5],
        [2, 11.0, -6.0, None],
    ]
    assert list(found[0]) == ["recno", "RAJ2000", "DEJ2000", "B_V", "seen"]
    # What is live says what later files are: nothing has to be said of them.
    more = place / "more.parquet"
    late = {"recno": [3], "RAJ2000": [12], "DEJ2000": [-7], "B_V": [1], "seen": [None]}
    pq.write_table(pa.table(late), more)
    run("load", "viz", f"Star={more}", *czar)
    query = "SELECT RAJ2000, B_V FROM viz.Star WHERE recno = 3"
    assert db.query(query).to_arrow().to_pylist() == [{"RAJ2000": 12.0, "B_V": 1.0}]
