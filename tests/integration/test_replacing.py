"""Loads on real processes that replace tables; in the end only workers are left."""

import json
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import qserv
from qserv.cli.main import main
from qserv.errors import Conflict, InvalidRequest

SIDECAR = """
tables:
  Object: {kind: director, key: objectId, position: [ra, dec]}
  Source: {kind: child, director: Object, key: objectId, id: sourceId}
"""
ROWS = 300
TOLD = "SELECT COUNT(*) AS n, MIN(flux) AS a, MAX(flux) AS b FROM {}.Source"
JOIN = """SELECT COUNT(*) AS n, SUM(s.flux) AS f FROM {0}.Object o
JOIN {0}.Source s ON s.objectId = o.objectId"""
KEY = "SELECT objectId, flux FROM {}.Source WHERE sourceId = 7"


def objects(first=0, **more):
    """Return objects all over the sky."""
    numbers = range(ROWS)
    return pa.table(
        {
            "objectId": [first + n for n in numbers],
            "ra": [n * 360 / ROWS for n in numbers],
            "dec": [n * 160 / ROWS - 80 for n in numbers],
        }
        | more
    )


def sources(fluxes, first=0, **more):
    """Return one source of each object for each flux."""
    keys = [first + n for n in range(ROWS) for _ in fluxes]
    return pa.table(
        {
            "sourceId": range(len(keys)),
            "objectId": keys,
            "flux": [float(f) for _ in range(ROWS) for f in fluxes],
        }
        | more
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = tmp_path_factory.mktemp("replacing")
    (made / "t.sidecar.yaml").write_text(SIDECAR)
    for name, rows in {
        "objects": objects(),
        "others": objects(1000, mag=[float(n) for n in range(ROWS)]),
        "sources": sources([10, 20]),
        "more": sources([5]).set_column(0, "sourceId", [range(1000, 1000 + ROWS)]),
        "fainter": sources([1, 2, 3]),
        "elsewhere": sources([7], 1000, band=["r"] * ROWS),
    }.items():
        pq.write_table(rows, made / f"{name}.parquet")
    return made


@pytest.fixture(scope="module")
def db(place):
    with qserv.LocalCluster(2, place / "cluster") as db:
        yield db


@pytest.fixture
def load(db, place, release):
    """Return what loads files into the test's release by the names they have here."""

    def load(replace=False, into="", **inputs):
        tables = [name for name in ("Object", "Source") if name in inputs]
        files = {table: place / f"{inputs.pop(table)}.parquet" for table in tables}
        how = {"sidecar": place / "t.sidecar.yaml", "leaf_rows": 50} | inputs
        return db.load(into or release, files, replace=replace, **how)

    load(Object="objects", Source="sources")
    load(Source="more")
    return load


@pytest.fixture
def release(request):
    """Return a name of the test's own."""
    return request.node.name.removeprefix("test_")[:30]


def rows(db, query, release, **how):
    return db.query(query.format(release), **how).to_arrow().to_pylist()


def one(db, query, release, **how):
    (row,) = rows(db, query, release, **how)
    return tuple(row.values())


def test_a_child_is_replaced(db, release, load):
    old = db.status().snapshot
    assert one(db, TOLD, release) == (3 * ROWS, 5, 20)
    assert "no chunk is read" in db.explain(TOLD.format(release))

    dry = load(Source="fainter", replace=True, dry_run=True)
    assert (dict(dry.replaced), dry.rows) == ({"Source": 3 * ROWS}, {"Source": 900})
    assert db.status().snapshot == old
    done = load(Source="fainter", replace=True)

    # What is answered of the manifests is what is answered of the rows.
    for query in (TOLD, f"{TOLD} HAVING COUNT(*) > 0"):
        assert one(db, query, release) == (3 * ROWS, 1, 3)
        assert one(db, query, release, snapshot=old) == (3 * ROWS, 5, 20)
    assert one(db, JOIN, release) == (900, 600 * 3)
    assert one(db, KEY, release) == (2, 2)
    assert one(db, KEY, release, snapshot=old) == (3, 20)

    last, *before = db.loads(release, every=True)
    assert (last.replaced, last.snapshot) == (("Source",), done.snapshot)
    gone = [i.gone for p in before for i in db.loads.show(p.id).inputs]
    assert sorted(gone) == [0, done.snapshot, done.snapshot]


def test_it_is_told_where_rows_come_from(db, release, load):
    """By the tables that qserv fills itself, alone and beside those of a survey."""
    old = db.status().snapshot
    made = {"who": "ada", "pipeline": "drp 2.1", "configuration": "c0ffee"}
    done = load(
        Source="fainter", replace=True, input_ids=("visit-1", "visit-2"), **made
    )
    files = """SELECT table_name, source, rows_read, live, gone
    FROM qserv.contributions WHERE release = '{}' ORDER BY number"""

    def told(**how):
        found = rows(db, files, release, **how)
        return [tuple(f.values()) for f in found if not f.update(source=_name(f))]

    new = done.snapshot
    assert told() == [
        ("Object", "objects", ROWS, True, None),
        ("Source", "sources", 2 * ROWS, False, new),
        ("Source", "more", ROWS, False, new),
        ("Source", "fainter", 3 * ROWS, True, None),
    ]
    live = [("objects", True), ("sources", True), ("more", True), ("fainter", False)]
    assert [(row[1], row[3]) for row in told(snapshot=old)] == live

    loads = """SELECT state, who, pipeline, configuration, input_ids, tables, replaced,
    reason, snapshot, rows_read, rows_rejected,
    CASE WHEN ended >= begun THEN 1 ELSE 0 END AS ended
    FROM qserv.loads WHERE release = '{}' AND snapshot > {}"""
    (row,) = rows(db, loads.format(release, old), release)
    assert row == made | {
        "state": "committed",
        "input_ids": "visit-1\nvisit-2",
        "tables": "Source",
        "replaced": "Source",
        "reason": "",
        "snapshot": new,
        "rows_read": 3 * ROWS,
        "rows_rejected": 0,
        "ended": 1,
    }
    view = f"{release}.brought"
    db.create_view(view, "SELECT number, source FROM qserv.contributions")
    of_view = """SELECT v.source, COUNT(*) AS n FROM {0}.Source s
    LEFT JOIN {0}.brought v ON v.number = s._source GROUP BY v.source"""
    (row,) = rows(db, of_view, release)
    assert (_name(row), row["n"]) == ("fainter", 3 * ROWS)
    db.drop_view(view)
    alone = "SELECT COUNT(*) FROM qserv.loads JOIN qserv.contributions USING (load_id)"
    assert "fragment" not in db.explain(alone)

    of = """SELECT c.source, l.pipeline FROM {0}.Source s
    JOIN qserv.contributions c ON s._source = c.number
    JOIN qserv.loads l ON l.load_id = c.load_id WHERE s.sourceId = 7"""
    (row,), (was,) = (rows(db, of, release, snapshot=s) for s in (None, old))
    assert (_name(row), row["pipeline"]) == ("fainter", "drp 2.1")
    assert (_name(was), was["pipeline"]) == ("sources", "")
    brought = """SELECT c.source, COUNT(*) AS n FROM {0}.Object o
    LEFT JOIN {0}.Source s ON s.objectId = o.objectId
    JOIN qserv.contributions c ON s._source = c.number
    GROUP BY c.source ORDER BY n"""
    assert [row["n"] for row in rows(db, brought, release, snapshot=old)] == [300, 600]
    starred = rows(db, "SELECT TOP 1 * FROM {}.Source", release)
    assert list(starred[0]) == ["sourceId", "objectId", "flux"]

    assert [t.name for t in db.tables("Qserv").tables] == ["loads", "contributions"]
    for change in (
        lambda: load(Source="more", into="qserv"),
        lambda: db.drop_table("qserv.loads"),
        lambda: db.rebuild_table("qserv.loads"),
        lambda: db.create_view("QSERV.mine", "SELECT 1 AS n FROM qserv.loads"),
    ):
        with pytest.raises(InvalidRequest, match="release qserv holds the tables that"):
            change()


def _name(row):
    return Path(row["source"]).stem


def test_the_same_files_replace_and_come_again(db, release, load):
    again = {"Object": "objects", "Source": "sources"}
    assert not load(**again).rows
    done = load(**again, replace=True)
    assert (dict(done.rows), done.already) == ({"Object": ROWS, "Source": 2 * ROWS}, {})
    assert one(db, TOLD, release) == (2 * ROWS, 10, 20)
    # What went may come again, what is there may not.
    assert load(Source="more").rows == {"Source": ROWS}
    assert not load(**again).rows
    assert one(db, JOIN, release)[0] == 3 * ROWS


def test_a_director_alone_is_refused(db, release, load):
    before = db.status().snapshot
    with pytest.raises(Conflict, match=rf"is the director of {release}\.Source, whose"):
        load(Object="others", replace=True)
    assert db.status().snapshot == before
    assert db.loads(release)[0].replaced == ()


def test_a_director_and_its_child_become_others(db, release, load):
    """Other keys, other columns; a view that reads none of those that go is fine."""
    old = db.status().snapshot
    db.create_view(f"{release}.Bright", "SELECT objectId, flux FROM Source")
    db.create_view(f"{release}.Ids", "SELECT sourceId FROM Source")
    load(Object="others", Source="elsewhere", replace=True)
    assert one(db, JOIN, release) == (ROWS, 7 * ROWS)
    assert one(db, "SELECT SUM(mag) FROM {}.Object", release) == (299 * 150,)
    assert one(db, "SELECT COUNT(*) FROM {}.Source WHERE band = 'r'", release) == (300,)
    assert one(db, "SELECT MIN(objectId) FROM {}.Object", release) == (1000,)
    assert one(db, "SELECT COUNT(*) FROM {}.Bright", release) == (ROWS,)
    assert rows(db, "SELECT ra FROM {}.Object WHERE objectId = 5", release) == []
    assert one(db, JOIN, release, snapshot=old)[0] == 3 * ROWS
    columns = [len(t.columns) for t in db.tables(release).tables]
    assert columns == [4, 4]
    assert [len(t.columns) for t in db.tables(release, snapshot=old).tables] == [3, 3]


def test_a_column_that_a_view_reads_stays(db, release, load, place, tmp_path):
    db.create_view(f"{release}.Lit", "SELECT objectId FROM Source WHERE flux > 0")
    file = tmp_path / "dark.parquet"
    pq.write_table(sources([1]).drop_columns("flux"), file)
    sidecar = place / "t.sidecar.yaml"
    with pytest.raises(Conflict, match=rf"(?s){release}\.Lit.*drop or replace them"):
        db.load(release, {"Source": file}, sidecar=sidecar, replace=True)
    assert one(db, "SELECT COUNT(*) FROM {}.Lit", release) == (3 * ROWS,)


def test_a_reader_keeps_what_it_began_with(db, release, load):
    """A query that runs, and whoever reads by number."""
    reading = db.query(f"SELECT sourceId, flux FROM {release}.Source", batch_chunks=1)
    load(Source="fainter", replace=True)
    assert sum(row["flux"] for row in reading.to_arrow().to_pylist()) == 35 * ROWS


def test_the_command_says_what_goes(release, load, place):
    there = ["--dir", str(place / "cluster")]
    command = ["load", release, f"Source={place}/fainter.parquet", "--replace"]
    runs = [[*command, "--dry-run", *there], [*command, *there]]
    dry, done = (CliRunner().invoke(main, run, catch_exceptions=False) for run in runs)
    assert "Source: replaced; the 900 rows that it had would go\n" in dry.stdout
    assert "Source: replaced; the 900 rows that it had went\n" in done.stdout
    listing = ["loads", "list", "--release", release, "--json", *there]
    last, *_, first = json.loads(CliRunner().invoke(main, listing).stdout)
    shown = [
        CliRunner().invoke(main, ["loads", "show", load["id"], *there]).stdout
        for load in (last, first)
    ]
    assert "replaces      Source\n" in shown[0]
    assert f"snapshot {last['snapshot']}" in shown[1].splitlines()[-1]


def test_it_is_gone_on_with_by_another_czar(db, release, load):
    """The czar dies while files are sent: it finds what goes in its metadata."""
    before = db.cluster.processes["czar"]

    def kill(progress):
        if progress.phase == "sending" and db.cluster.processes.get("czar") == before:
            db.cluster.kill("czar", signal.SIGKILL)

    done = load(Object="others", Source="elsewhere", replace=True, progress=kill)
    assert db.cluster.processes["czar"] != before
    db.cluster.wait_whole()
    assert done.snapshot == db.status().snapshot
    assert dict(done.replaced) == {"Object": ROWS, "Source": 3 * ROWS}
    assert one(db, JOIN, release) == (ROWS, 7 * ROWS)


def test_a_rebuild_gives_the_tables_after_it(db, release, load, place):
    """Last, for the cluster is taken down: metadata are made of what workers have."""
    old = db.status().snapshot
    load(Source="fainter", replace=True)
    assert all(step.damaged == () for step in db.checks.scrub())
    problems = [f for f in db.checks.examine().findings if f.level == "problem"]
    assert problems == []
    asked = [(q, s) for q in (TOLD, JOIN, KEY) for s in (None, old)]
    known = [rows(db, query, release, snapshot=number) for query, number in asked]
    db.cluster.stop()
    shutil.rmtree(place / "cluster" / "czar")
    command = ["metadata", "rebuild", "--dir", str(place / "cluster")]
    said = CliRunner().invoke(main, command)
    assert said.exit_code == 0, said.output
    with qserv.LocalCluster(None, place / "cluster") as again:
        found = [rows(again, q, release, snapshot=number) for q, number in asked]
    assert found == known
