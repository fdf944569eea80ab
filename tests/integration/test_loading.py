"""Bad input, later loads, interrupted loads: against a real czar and real workers."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.loads import FILTER, FORCED, OBJECT, SOURCE, parquet

import qserv
from qserv.errors import BadContribution, Conflict, InvalidRequest

TABLES = (OBJECT, SOURCE, FORCED)
COUNTS = (
    "SELECT COUNT(*) AS n FROM dr1.Object",
    "SELECT COUNT(*) AS n FROM dr1.Source",
    "SELECT COUNT(*) AS n, SUM(objectId) AS s FROM dr1.Object WHERE ra > -1",
    "SELECT COUNT(*) AS n, SUM(sourceId) AS s FROM dr1.Source WHERE ra > -1",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("loading")


@pytest.fixture(scope="module")
def db(place):
    rng = np.random.default_rng(4)
    ids = np.arange(1, 2001)
    ra, dec = rng.uniform(0, 360, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    objects = parquet(place / "o.parquet", OBJECT, objectId=ids, ra=ra, dec=dec)
    sources = parquet(place / "s.parquet", SOURCE, objectId=ids, ra=ra, dec=dec)
    with qserv.LocalCluster(2, place / "cluster") as db:
        inputs = {"Object": objects, "Source": sources}
        db.load("dr1", inputs, schema=TABLES, leaf_rows=100)
        yield db


def answers(db):
    return [db.query(text).to_arrow().to_pylist() for text in COUNTS]


def files_of(place):
    workers = (place / "cluster").glob("worker*")
    return sorted(
        str(f) for w in workers for f in w.rglob("*") if f.suffix == ".parquet"
    )


def one(**changes):
    return {"objectId": [5000], "ra": [1.0], "dec": [2.0]} | changes


BAD = {
    "NaN position": (OBJECT, one(ra=[float("nan")]), r"x.parquet, row 1, column ra"),
    "beyond the pole": (OBJECT, one(dec=[91]), r"x.parquet, row 1, column dec: 91.0"),
    "known id": (
        OBJECT,
        one(objectId=[7]),
        r"x.parquet, row 1, column objectId: 7 is in",
    ),
    "orphan": (
        SOURCE,
        one(),
        r"x.parquet, row 1, column objectId: 5000 is not in Object",
    ),
    "NULL key": (
        SOURCE,
        one(objectId=[None]),
        r"row 1, column objectId: the key is NULL",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_leave_the_tables_as_they_were(db, place, case):
    table, values, message = BAD[case]
    before, files = answers(db), files_of(place)
    path = parquet(place / "x.parquet", table, **values)
    with pytest.raises(BadContribution, match=message):
        db.load("dr1", {table.name: path}, schema=TABLES)
    assert answers(db) == before
    assert files_of(place) == files


def test_bad_files_leave_the_tables_as_they_were(db, place):
    before = answers(db)
    lines = [f"{9000 + i},{i},0,15" for i in range(50)]
    lines[30] = "9030,30"
    broken = place / "broken.csv"
    broken.write_text("\n".join(["objectId,ra,dec,mag", *lines]))
    cut = place / "cut.parquet"
    cut.write_bytes((place / "o.parquet").read_bytes()[:-500])
    missing = place / "missing.parquet"
    pq.write_table(pq.read_table(place / "o.parquet").drop_columns("ra"), missing)
    for path, message in (
        (broken, r"broken.csv, row 31: has 2 values for 4 columns"),
        (cut, r"cut.parquet: is not a whole Parquet file"),
        (missing, r"missing.parquet: column ra of table Object is missing"),
    ):
        with pytest.raises(BadContribution, match=message):
            db.load("dr1", {"Object": path}, schema=TABLES)
    assert answers(db) == before


def test_other_columns_than_the_live_ones_are_refused(db, place):
    path = parquet(place / "f.parquet", FORCED, objectId=[1])
    other = replace(FORCED, name="Source")
    with pytest.raises(InvalidRequest, match=r"Source exists with"):
        db.load("dr1", {"Source": path}, schema=(OBJECT, other))


def test_an_interrupted_load_leaves_nothing(db, place):
    def interrupt(progress):
        if progress.phase == "sending" and progress.rows > 0:
            raise KeyboardInterrupt

    before, files = answers(db), files_of(place)
    rng = np.random.default_rng(9)
    values = {"objectId": np.arange(10_000, 12_000), "ra": rng.uniform(0, 360, 2000)}
    path = parquet(
        place / "i.parquet", OBJECT, **values, dec=rng.uniform(-80, 80, 2000)
    )
    with pytest.raises(KeyboardInterrupt):
        db.load("dr1", {"Object": path}, schema=TABLES, progress=interrupt)
    assert answers(db) == before
    assert files_of(place) == files


def test_rows_join_later_children_alone_too(db, place):
    path = parquet(place / "n.parquet", OBJECT, objectId=[3000], ra=[-1.0], dec=[0])
    report = db.load("dr1", {"Object": path}, schema=TABLES)
    assert (report.rows, report.wrapped) == ({"Object": 1}, 1)
    path = parquet(place / "g.parquet", FORCED, objectId=[3000, 1, 1], flux=[1, 2, 3])
    shouted = replace(FORCED, name="FORCEDSOURCE")
    report = db.load("DR1", {"forcedsource": path}, schema=(shouted,))
    assert report.rows == {"FORCEDSOURCE": 3}
    joined = db.query(
        "SELECT o.objectId, o.ra, f.flux FROM dr1.Object o "
        "JOIN dr1.ForcedSource f ON o.objectId = f.objectId WHERE o.objectId = 3000"
    )
    assert joined.to_arrow().to_pylist() == [
        {"objectId": 3000, "ra": 359.0, "flux": 1.0}
    ]
    everything = db.query("SELECT COUNT(*) AS n FROM dr1.Object WHERE dec < 100")
    assert everything.to_arrow().to_pylist() == [{"n": 2001}]


def test_a_content_is_loaded_once(db, place):
    first = parquet(place / "h.parquet", FORCED, objectId=[7, 8], flux=[3, 4])
    copy = place / "copy.parquet"
    copy.write_bytes(first.read_bytes())
    count = "SELECT COUNT(*) AS n FROM dr1.ForcedSource"
    with pytest.raises(Conflict, match=r"copy.parquet: this load .*h.parquet already"):
        db.load("dr1", {"ForcedSource": [first, copy]}, schema=TABLES)
    db.load("dr1", {"ForcedSource": first}, schema=TABLES)
    before = db.query(count).to_arrow().to_pylist()
    for again in (first, copy):
        report = db.load("dr1", {"ForcedSource": again}, schema=TABLES)
        assert report.rows == {}
        assert list(report.already) == [str(again)]
    assert db.query(count).to_arrow().to_pylist() == before


def test_filters_may_come_before_the_stars(db, place):
    filters = parquet(place / "filters.parquet", FILTER, name=["u", "g"])
    db.load("dr0", {"Filter": filters}, schema=(FILTER,))
    stars = {"Object": place / "o.parquet"}
    report = db.load("dr0", stars, schema=TABLES, leaf_rows=100)
    assert report.chunks > 12
    count = "SELECT f.name, COUNT(*) AS n FROM dr0.Object, dr0.Filter f GROUP BY f.name"
    found = db.query(count).to_arrow().to_pylist()
    assert {row["name"]: row["n"] for row in found} == {"u": 2000, "g": 2000}
    alone = db.query("SELECT COUNT(*) AS n FROM dr0.Filter")
    assert alone.to_arrow().to_pylist() == [{"n": 2}]
