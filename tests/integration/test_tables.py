"""Tables on real processes: dropped, read in older snapshots, loaded anew."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from support.processes import until

import qserv
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.cli.main import main
from qserv.errors import Conflict, UnknownName

OBJECT = Table(
    "Object",
    TableKind.DIRECTOR,
    (
        Column("objectId", DataType.BIGINT, nullable=False),
        Column("ra", DataType.DOUBLE),
        Column("dec", DataType.DOUBLE),
    ),
    key="objectId",
    position=("ra", "dec"),
)
SOURCE = Table(
    "Source",
    TableKind.CHILD,
    (Column("objectId", DataType.BIGINT), Column("flux", DataType.DOUBLE)),
    key="objectId",
    director="Object",
)
WIDER = replace(
    SOURCE, columns=(SOURCE.columns[0], Column("mag", DataType.REAL), SOURCE.columns[1])
)
ROWS = 300
JOIN = """SELECT COUNT(*), SUM(s.flux) FROM dr1.Object o
JOIN dr1.Source s ON s.objectId = o.objectId"""
KEY = "SELECT COUNT(*), SUM(flux) FROM dr1.Source WHERE objectId = 7"


def csv(path, header, rows):
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def files(tmp_path):
    sky = [(i, i * 360 / ROWS, i * 160 / ROWS - 80) for i in range(ROWS)]
    return {
        "Object": csv(tmp_path / "objects.csv", "objectId,ra,dec", sky),
        "Source": csv(
            tmp_path / "sources.csv", "objectId,flux", [(i, 1) for i in range(ROWS)]
        ),
        "Wider": csv(
            tmp_path / "wider.csv",
            "objectId,mag,flux",
            [(i, 20, 2) for i in range(ROWS) for _ in range(2)],
        ),
    }


@pytest.fixture
def db(tmp_path, files):
    with qserv.LocalCluster(2, tmp_path / "cluster") as db:
        load(db, files)
        yield db


def load(db, files):
    inputs = {"Object": files["Object"], "Source": files["Source"]}
    return db.load("dr1", inputs, schema=(OBJECT, SOURCE), leaf_rows=50)


def answer(db, query, **how):
    columns = db.query(query, **how).to_arrow().to_pydict().values()
    return tuple(value for (value,) in columns)


def restart_czar(db):
    before = db.cluster.processes["czar"]
    db.cluster.kill("czar")
    until(lambda: db.cluster.processes.get("czar", before) != before)
    db.cluster.wait_whole()


def sees_both(db, old):
    assert answer(db, JOIN, snapshot=old) == (ROWS, ROWS)
    assert answer(db, KEY, snapshot=old) == (1, 1)
    assert answer(db, JOIN) == (2 * ROWS, 4 * ROWS)
    assert answer(db, KEY) == (2, 4)


def test_a_table_is_dropped_and_loaded_with_other_columns(db, files):
    old = db.status().snapshot
    db.create_view("dr1.Lit", "SELECT objectId FROM Source WHERE flux > 0")
    with pytest.raises(Conflict, match=r"is the director of dr1\.Source: drop them"):
        db.drop_table("dr1.Object")
    with pytest.raises(Conflict, match=r"read by the views dr1\.Lit"):
        db.drop_table("dr1.Source")
    db.drop_view("dr1.Lit")

    gone = db.drop_table("DR1.SOURCE")
    assert (gone.snapshot, gone.names) == (old + 3, ("Source",))
    with pytest.raises(UnknownName, match="no table Source"):
        answer(db, JOIN)
    assert answer(db, JOIN, snapshot=gone.snapshot - 1) == (ROWS, ROWS)

    db.load("dr1", {"Source": files["Wider"]}, schema=(WIDER,))
    sees_both(db, old)
    restart_czar(db)
    sees_both(db, old)
    assert [len(t.columns) for t in db.tables("dr1").tables] == [3, 3]
    assert [len(t.columns) for t in db.tables("dr1", snapshot=old).tables] == [3, 2]


def test_all_that_was_dropped_may_be_loaded_again(db, files, tmp_path):
    first = db.status()
    place = ["--dir", str(tmp_path / "cluster")]
    drop = ["table", "drop", "dr1.Object", "--with-children", *place]
    assert CliRunner().invoke(main, drop, input="n\n").exit_code == 1
    assert db.status().snapshot == first.snapshot
    done = CliRunner().invoke(main, [*drop, "--yes"])
    assert (done.exit_code, done.stdout.split(": ")[1]) == (
        0,
        "dr1.Object, dr1.Source\n",
    )
    listed = CliRunner().invoke(main, ["table", "list", "dr1", "--json", *place])
    assert json.loads(listed.stdout) == []

    load(db, files)
    assert answer(db, JOIN) == (ROWS, ROWS)
    assert answer(db, JOIN, snapshot=first.snapshot) == (ROWS, ROWS)
    names = ["table", "list", "dr1", *place]
    assert "dr1.Source" in CliRunner().invoke(main, names).stdout
    (release,) = db.status().releases
    assert (release.chunks, len(release.tables)) == (first.releases[0].chunks, 2)
