"""Live tables are read again by a load: rows stay what they are, and get columns."""

import json
import os
import subprocess
import sys

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from support.pairs import paired
from support.skies import kdtree_pairs
from support.storedrows import own_rows, stored
from support.survey import survey

import qserv
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.cli.main import main
from qserv.errors import BadContribution, Conflict, InvalidRequest

RADIUS = 0.01
NEAR = f"""SELECT COUNT(*) AS n FROM {{0}}.Object a JOIN {{0}}.Object b
ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) <= {RADIUS}
WHERE a.objectId < b.objectId"""
QUERIES = (
    "SELECT COUNT(*), MIN(mag), MAX(mag), MIN(ra), MAX(dec) FROM {}.Object",
    "SELECT COUNT(*), COUNT(flux), MIN(mjd), MAX(mjd) FROM {}.Source",
    """SELECT COUNT(*), MIN(s.sourceId), MAX(s.sourceId), SUM(o.objectId)
    FROM {0}.Object o JOIN {0}.Source s ON o.objectId = s.objectId""",
    """SELECT COUNT(*), SUM(s.sourceId) FROM {0}.Source s JOIN {0}.Visit v
    ON s.visit = v.visit JOIN {0}.Filter f ON f.filterId = v.filterId""",
    "SELECT COUNT(*), SUM(visit) FROM {}.ForcedSource WHERE objectId = {key}",
    "SELECT ra, dec, name FROM {}.Object WHERE objectId = {key}",
)
"""With answers that no order of addition changes."""

STRAY = Table(
    "Stray",
    TableKind.CHILD,
    (
        Column("strayId", DataType.VARCHAR, nullable=False),
        Column("objectId", DataType.BIGINT),
        Column("ra", DataType.DOUBLE),
        Column("dec", DataType.DOUBLE),
        Column("x", DataType.REAL),
    ),
    key="objectId",
    director="Object",
    position=("ra", "dec"),
    id="strayId",
    orphans=True,
)


class Sky:
    """One survey in several releases, and one plain DuckDB that has its rows."""

    def __init__(self, db, place):
        self.db, self.place = db, place
        self.survey = survey(seed=17, objects=450)
        self.plain = duckdb.connect()
        self.plain.execute("CREATE SCHEMA sky")
        self.files = {}
        for name, rows in self.survey.rows.items():
            self.files[name] = place / f"{name}.parquet"
            pq.write_table(rows, self.files[name])
            self.plain.register("arriving", rows)
            nulled = [_nulled(field) for field in rows.schema]
            self.plain.execute(
                f"CREATE TABLE sky.{name} AS SELECT {', '.join(nulled)} FROM arriving"
            )
        objects = self.survey.rows["Object"]
        self.key = objects["objectId"][0].as_py()
        ra, dec = (objects[name].to_numpy() for name in ("ra", "dec"))
        self.near = len(kdtree_pairs(ra, dec, RADIUS))

    def load(self, release):
        tables = tuple(self.survey.tables.values())
        return self.db.load(release, self.files, schema=tables, leaf_rows=60)

    def check(self, release, **how):
        """Assert that a release answers as plain DuckDB does."""
        for query in QUERIES:
            asked = query.format(release, key=self.key)
            wanted = query.format("sky", key=self.key)
            assert self.rows(asked, **how) == self.plain.execute(wanted).fetchall()
        assert self.rows(NEAR.format(release), **how) == [(self.near,)]

    def rows(self, query, **how):
        found = self.db.query(query, **how).to_arrow()
        return list(zip(*(c.to_pylist() for c in found.columns), strict=True))

    def own(self, name):
        return own_rows(self.db, name, self.place)


def _nulled(field):
    name = f'"{field.name}"'
    if pa.types.is_floating(field.type):
        return f"CASE WHEN NOT isnan({name}) THEN {name} END AS {name}"
    return name


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    place = tmp_path_factory.mktemp("sky")
    with pytest.MonkeyPatch.context() as patch:
        # Nobody waits long for a loader that was killed.
        patch.setenv("QSERV_LOAD_LEASE", "2")
        with qserv.LocalCluster(3, tmp_path_factory.mktemp("cluster")) as db:
            yield Sky(db, place)


def strays(path, first, keys, ra, dec):
    rows = {
        "strayId": [f"s{first + i}" if i else "" for i in range(len(keys))],
        "objectId": pa.array(keys, pa.int64()),
        "ra": ra,
        "dec": dec,
        "x": pa.array([None, -0.0, 0.0, 1e-40][: len(keys)], pa.float32()),
    }
    pq.write_table(pa.table(rows), path)
    return path


def test_a_table_made_anew_has_the_rows_that_it_had(sky, tmp_path):
    before = sky.load("again").snapshot
    names = ["again.Object", "again.Source", "again.Filter"]
    rows = {name: sky.own(name) for name in names}
    for name in names:
        report = sky.db.rebuild_table(name)
        assert report.kept == {name.partition(".")[2]: len(rows[name])}
        assert report.rows == {name.partition(".")[2]: 0}
        assert sky.own(name) == rows[name]
    sky.check("again")
    sky.check("again", snapshot=before)
    # What brought the rows is live as before: nobody loads it twice.
    again = sky.load("again")
    assert len(again.already) == len(sky.files)
    assert again.snapshot == before


def test_orphans_and_pairs_stay_where_they_are(sky, tmp_path):
    objects = sky.survey.rows["Object"]
    ids = objects["objectId"].to_pylist()
    lost = max(ids) + 1
    sky.load("lost")
    file = strays(
        tmp_path / "s.parquet", 1, [None, lost, ids[0], lost],
        [359.999999, 0.0, 10.0, 0.0], [89.9999, -90.0, 3.0, 0.0],
    )  # fmt: skip
    sky.db.load("lost", {"Stray": file}, schema=[sky.survey.tables["Object"], STRAY])
    late = {name: objects[name].slice(0, 1) for name in objects.column_names}
    late |= {"objectId": [lost], "ra": [123.0], "dec": [45.0]}
    pq.write_table(pa.table(late), tmp_path / "late.parquet")
    sky.db.load("lost", {"Object": tmp_path / "late.parquet"})
    before = sky.own("lost.Stray")
    assert len(before) == 4
    sky.db.rebuild_table("lost.Stray")
    assert sky.own("lost.Stray") == before

    made = paired(seed=3)
    files = {}
    for name, rows in made.rows.items():
        files[name] = tmp_path / f"{name}.parquet"
        pq.write_table(rows, files[name])
    sky.db.load("pairs", files, schema=tuple(made.tables.values()), leaf_rows=60)
    query = """SELECT COUNT(*) AS n, SUM(r.refId) AS s FROM pairs.Match m
    JOIN pairs.RefObject r ON m.refId = r.refId"""
    answer, before = sky.rows(query), sky.own("pairs.Match")
    for name in ("pairs.Match", "pairs.RefObject"):
        sky.db.rebuild_table(name)
    assert sky.own("pairs.Match") == before
    assert sky.rows(query) == answer


def test_a_column_is_added_to_rows_that_are_live(sky, tmp_path):
    before = sky.load("wider").snapshot
    sky.db.create_view("wider.all_of_it", "SELECT * FROM Object")
    objects = sky.survey.rows["Object"]
    keys = objects["objectId"].to_pylist()[::2]
    values = tmp_path / "z.csv"
    lines = [f"{key},{number / 4},x" for number, key in enumerate(keys)]
    values.write_text("\n".join(["OBJECTID,z,note", *lines, ""]))
    report = sky.db.add_column(
        "wider.Object", "z", "REAL", values=values, ucd="src.redshift"
    )
    assert report.kept == {"Object": objects.num_rows}
    assert sky.rows("SELECT COUNT(z), MIN(z), MAX(z), SUM(z) FROM wider.Object") == [
        (len(keys), 0.0, (len(keys) - 1) / 4, sum(range(len(keys))) / 4)
    ]
    assert sky.rows(f"SELECT z FROM wider.all_of_it WHERE objectId = {keys[3]}") == [
        (0.75,)
    ]
    sky.check("wider")
    sky.check("wider", snapshot=before)
    column = sky.db.tables("wider").table("Object").column("z")
    assert column == Column("z", DataType.REAL, ucd="src.redshift")
    (load,) = (each for each in sky.db.loads(release="wider") if each.input_ids)
    assert str(values) in load.input_ids[0]

    run = CliRunner().invoke(
        main,
        ["table", "add-column", "wider.Source", "band", "VARCHAR", "--default", "",
         "--czar", sky.db.endpoint],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "wider.Source has column band" in run.output
    by_visit = tmp_path / "visits.csv"
    by_visit.write_text("visit,night\n" + "".join(f"{v},{v % 7}\n" for v in range(40)))
    sky.db.add_column("wider.Source", "night", "SMALLINT", values=by_visit, key="visit")
    sky.db.add_column("wider.Filter", "seen", "TIMESTAMP", default="2026-01-31")
    assert sky.rows(
        """SELECT COUNT(*), MIN(s.band), MAX(s.night), SUM(s.night - MOD(s.visit, 7))
        FROM wider.Object o JOIN wider.Source s ON o.objectId = s.objectId"""
    ) == [(sky.survey.rows["Source"].num_rows, "", 6, 0)]
    assert sky.rows("SELECT COUNT(seen) FROM wider.Filter") == [(6,)]
    sky.check("wider")


def test_what_cannot_be_added_is_refused_and_changes_nothing(sky, tmp_path):
    before = sky.load("kept").snapshot
    add, keys = sky.db.add_column, sky.survey.rows["Object"]["objectId"].to_pylist()
    values = tmp_path / "values.csv"
    values.write_text(f"objectId,v\n{keys[0]},1\n{keys[1]},2\n{keys[0]},3\n")
    with pytest.raises(BadContribution, match=f"row 3.*{keys[0]} is a duplicate key"):
        add("kept.Object", "v", "DOUBLE", values=values)
    values.write_text(f"objectId,v\n{keys[0]},1\n-5,2\n")
    with pytest.raises(
        BadContribution, match=r"row 2.*-5 is no objectId of kept\.Object"
    ):
        add("kept.Object", "v", "DOUBLE", values=values, max_rejects=10)
    values.write_text(f"objectId,v\n{keys[0]},70000\n")
    with pytest.raises(BadContribution, match="does not fit SMALLINT"):
        add("kept.Object", "v", "SMALLINT", values=values)
    with pytest.raises(InvalidRequest, match="has a column mag already"):
        add("kept.Object", "MAG", "REAL")
    with pytest.raises(InvalidRequest, match="_x"):
        add("kept.Object", "_x", "REAL")
    with pytest.raises(InvalidRequest, match="cannot be 'abc'"):
        add("kept.Object", "v", "DOUBLE", default="abc")
    with pytest.raises(InvalidRequest, match="no key of its own"):
        add("kept.ForcedSource", "v", "DOUBLE", values=values)
    # With the column, the view could mean either table's.
    text = "SELECT mjd FROM Object o JOIN Source s ON o.objectId = s.objectId"
    sky.db.create_view("kept.times", text)
    with pytest.raises(Conflict, match="times"):
        add("kept.Object", "mjd", "DOUBLE", default=1)
    assert sky.db.tables("kept", snapshot=before).tables == sky.db.tables("kept").tables
    sky.check("kept")


def cli(sky, *words, failpoint=""):
    return subprocess.run(
        [sys.executable, "-m", "qserv.cli.main", *words, "--czar", sky.db.endpoint],
        env=os.environ | {"QSERV_FAILPOINT": failpoint, "TMPDIR": str(sky.place)},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.timeout(180)
def test_work_that_was_killed_goes_on_or_is_as_if_it_never_began(sky, tmp_path):
    sky.load("killed")
    values = tmp_path / "n.csv"
    keys = sky.survey.rows["Object"]["objectId"].to_pylist()
    values.write_text("objectId,n\n" + "".join(f"{key},1\n" for key in keys))
    words = ["table", "add-column", "killed.Object", "n", "BIGINT", "--from", values]
    before = sky.own("killed.Object")
    for point in ("rework.file.fetched:3", "loader.task.done:2", "loader.file.sent:5"):
        assert cli(sky, *words, failpoint=point).returncode == -9
        assert sky.own("killed.Object") == before
    done = cli(sky, *words)
    assert done.returncode == 0, done.stderr
    assert "went on with what was stopped" in done.stdout
    assert sky.rows("SELECT COUNT(n), SUM(n) FROM killed.Object") == [
        (len(keys), len(keys))
    ]
    sky.check("killed")
    told = cli(sky, "table", "list", "killed", "--json")
    assert {each["name"]: each["columns"] for each in json.loads(told.stdout)}[
        "Object"
    ] == len(sky.survey.tables["Object"].columns) + 1


def test_bad_copies_are_passed_over(sky, tmp_path):
    sky.load("rotten")
    before = sky.own("rotten.Object")
    found = stored(sky.db, "rotten.Object")
    spoiled = found.workers[0].worker_id
    directory = next(
        sky.db.cluster.directory / name / "data"
        for name in ("worker-1", "worker-2", "worker-3")
        if sky.db.cluster.worker_id(name) == spoiled
    )
    rotten = 0
    for file in found.files:
        path = directory / file.entry.path
        if path.exists():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
            rotten += 1
    assert rotten
    sky.db.rebuild_table("rotten.Object")
    assert sky.own("rotten.Object") == before
    sky.check("rotten")
    assert np.unique([len(file.workers) for file in found.files]).tolist() == [2]
