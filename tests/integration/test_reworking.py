"""Live tables are read again by a load: rows stay what they are, and get columns."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from support.pairs import paired
from support.reworked import (
    EVENT,
    NEAR,
    OBJECT,
    RADIUS,
    STRAY,
    Sky,
    cli,
    night,
    same_nights,
    strays,
)
from support.skies import kdtree_pairs
from support.storedrows import stored

import qserv
from qserv.catalog.tables import Column, DataType
from qserv.cli.main import main
from qserv.errors import BadContribution, Conflict, InvalidRequest
from qserv.ingest.rework.rereading import Rereading


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    place = tmp_path_factory.mktemp("sky")
    with pytest.MonkeyPatch.context() as patch:
        # Nobody waits long for a loader that was killed.
        patch.setenv("QSERV_LOAD_LEASE", "2")
        with qserv.LocalCluster(3, tmp_path_factory.mktemp("cluster")) as db:
            yield Sky(db, place)


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


def test_an_overlap_is_changed_and_older_snapshots_keep_theirs(sky, tmp_path):
    before = sky.load("reach").snapshot
    near = NEAR.replace(str(RADIUS), str(100 / 3600)).format("reach")
    objects = sky.survey.rows["Object"]
    wanted = pairs_of(objects)
    assert sky.rows(near) == [(wanted,)]
    assert "halo" in sky.db.explain(near)

    run = CliRunner().invoke(
        main,
        ["table", "rebuild", "reach.Object", "--overlap", "120",
         "--czar", sky.db.endpoint],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert sky.rows(near) == sky.rows(near, snapshot=before) == [(wanted,)]
    assert "halo" not in sky.db.explain(near)
    assert "halo" in sky.db.explain(near, snapshot=before)
    sky.check("reach")
    found = sky.db.status().find("reach", "Object")
    assert found.overlap == pytest.approx(120 / 3600)

    # Files that come later have as much of it as those that are there.
    more = beside(objects)
    pq.write_table(more, tmp_path / "more.parquet")
    with pytest.raises(
        InvalidRequest, match=r"reach\.Object has an overlap of 120 arc"
    ):
        sky.db.load("reach", {"Object": tmp_path / "more.parquet"}, overlap=60 / 3600)
    sky.db.load("reach", {"Object": tmp_path / "more.parquet"})
    assert "halo" not in sky.db.explain(near)
    assert sky.rows(near) == [(pairs_of(pa.concat_tables([objects, more])),)]
    assert sky.rows(near, snapshot=before) == [(wanted,)]

    with pytest.raises(InvalidRequest, match=r"reach\.Source is a child table, which"):
        sky.db.rebuild_table("reach.Source", overlap=0.1)
    with pytest.raises(
        InvalidRequest, match=r"Object cannot have an overlap of 54,000"
    ):
        sky.db.rebuild_table("reach.Object", overlap=15.0)


def pairs_of(objects):
    ra, dec = (objects[name].to_numpy() for name in ("ra", "dec"))
    return len(kdtree_pairs(ra, dec, 100 / 3600))


def beside(objects):
    """Return other objects a little to the side of those that there are."""
    keys = pa.array(objects["objectId"].to_numpy() + 2**40)
    dec = np.clip(objects["dec"].to_numpy() + 85 / 3600, -90, 90)
    changed = {"objectId": keys, "dec": pa.array(dec)}
    columns = [changed.get(name, objects[name]) for name in objects.column_names]
    return pa.table(columns, schema=objects.schema)


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

    empty = pa.table({"objectId": pa.array([], pa.int64()), "ra": [], "dec": []})
    none = empty.append_column("mag", pa.array([], pa.float32()))
    pq.write_table(none, tmp_path / "none.parquet")
    sky.db.load("none", {"Object": tmp_path / "none.parquet"}, schema=[OBJECT])
    sky.db.rebuild_table("none.Object")
    sky.db.add_column("none.Object", "more", "INTEGER", default=1)
    assert sky.rows("SELECT COUNT(*), MAX(more) FROM none.Object") == [(0, None)]

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
    with pytest.raises(BadContribution, match="SMALLINT"):
        add("kept.Object", "v", "SMALLINT", values=values)
    with pytest.raises(InvalidRequest, match="has a column mag already"):
        add("kept.Object", "MAG", "REAL")
    with pytest.raises(InvalidRequest, match="_x"):
        add("kept.Object", "_x", "REAL")
    with pytest.raises(InvalidRequest, match="cannot be 'abc'"):
        add("kept.Object", "v", "DOUBLE", default="abc")
    with pytest.raises(InvalidRequest, match="cannot be 9223372036854775808"):
        add("kept.Object", "v", "BIGINT", default=2**63)
    with pytest.raises(InvalidRequest, match="no key of its own"):
        add("kept.ForcedSource", "v", "DOUBLE", values=values)
    # With the column, the view could mean either table's.
    text = "SELECT mjd FROM Object o JOIN Source s ON o.objectId = s.objectId"
    sky.db.create_view("kept.times", text)
    with pytest.raises(Conflict, match="times"):
        add("kept.Object", "mjd", "DOUBLE", default=1)
    assert sky.db.tables("kept", snapshot=before).tables == sky.db.tables("kept").tables
    sky.check("kept")


@pytest.mark.timeout(180)
def test_work_that_was_killed_goes_on_or_is_as_if_it_never_began(sky, tmp_path):
    sky.load("killed")
    values = tmp_path / "n.csv"
    keys = sky.survey.rows["Object"]["objectId"].to_pylist()
    values.write_text("objectId,n\n" + "".join(f"{key},1\n" for key in keys))
    words = ["table", "add-column", "killed.Object", "n", "BIGINT", "--from", values]
    before = sky.own("killed.Object")
    for point in ("rework.file.fetched:3", "loader.file.sent:5"):
        assert cli(sky, *words, failpoint=point).returncode == -9
        assert sky.own("killed.Object") == before
    done = cli(sky, *words)
    assert done.returncode == 0, done.stderr
    assert "went on with what was stopped" in done.stdout
    assert sky.rows("SELECT COUNT(n), SUM(n) FROM killed.Object") == [
        (len(keys), len(keys))
    ]
    sky.check("killed")
    # A file that replaces what it brought, in the same way.
    visits = sky.survey.rows["Visit"]
    later = visits.set_column(2, "mjd", pa.array(visits["mjd"].to_numpy() + 1))
    pq.write_table(later, tmp_path / "Visit.parquet")
    first = sky.files["Visit"].read_bytes()
    sky.files["Visit"].write_bytes((tmp_path / "Visit.parquet").read_bytes())
    words = ["load", "killed", "--replace-files", f"Visit={sky.files['Visit']}"]
    try:
        assert cli(sky, *words, failpoint="loader.task.done:1").returncode == -9
        assert sky.rows("SELECT MIN(mjd) FROM killed.Visit") == [(60000.0,)]
        done = cli(sky, *words)
    finally:
        sky.files["Visit"].write_bytes(first)
    assert done.returncode == 0, done.stderr
    assert "went on with a load that was stopped" in done.stdout
    assert sky.rows("SELECT MIN(mjd) FROM killed.Visit") == [(60001.0,)]


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


def test_a_file_replaces_exactly_the_rows_that_it_brought(sky, tmp_path):
    files = [tmp_path / f"night{number}.parquet" for number in range(4)]
    nights = [night(file, number) for number, file in enumerate(files[:3])]
    first = sky.db.load(
        "nights", {"Object": files[:2]}, schema=[OBJECT], leaf_rows=40
    ).snapshot
    sky.db.load("nights", {"Object": files[2]}, schema=[OBJECT])
    kept = sky.own("nights.Object")
    # Other keys, other places, and one file that was never there.
    newer = night(files[0], 0, ids=[*range(199), 10777], moved=3.0)
    other = night(files[3], 3)
    report = sky.db.load("nights", {"Object": files}, replace_files=True)
    assert report.rows == {"Object": 400}
    assert report.kept == {"Object": 200}
    assert report.replaced == {"Object": 200}
    assert len(report.already) == 2
    same_nights(sky, "nights", [newer, *nights[1:], other])
    same_nights(sky, "nights", nights[:2], snapshot=first)
    keys = {*nights[1]["objectId"].to_pylist(), *nights[2]["objectId"].to_pylist()}
    by_key = [row for row in sky.own("nights.Object") if keys.intersection(row[6:7])]
    assert by_key == [row for row in kept if keys.intersection(row[6:7])]
    brought = sky.db.loads.show(sky.db.loads(release="nights")[-1].id).inputs
    assert {each.source: bool(each.gone) for each in brought} == {
        str(files[0]): True, str(files[1]): False,
    }  # fmt: skip

    again = sky.db.load("nights", {"Object": files}, replace_files=True)
    assert len(again.already) == 4
    # What went may come back, as the same rows of the same file.
    night(files[0], 0)
    back = cli(sky, "load", "nights", "--replace-files", f"Object={files[0]}")
    assert back.returncode == 0, back.stderr
    assert "Object: the 200 rows that files had brought went" in back.stdout
    same_nights(sky, "nights", [*nights, other])
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(Conflict, match=r"night1\.parquet: leave it out"):
        sky.db.load("nights", {"Object": files[0]}, replace_files=True)
    with pytest.raises(InvalidRequest, match="not both"):
        sky.db.load("nights", {"Object": files}, replace_files=True, replace=True)
    same_nights(sky, "nights", [*nights, other])


def test_files_without_rows_are_replaced_and_replace(sky, tmp_path):
    files = [tmp_path / f"night{number}.parquet" for number in range(2)]
    nights = [night(file, number) for number, file in enumerate(files)]
    nothing = nights[0].slice(0, 0)

    def load(*contents):
        for file, content in zip(files, contents, strict=True):
            pq.write_table(content, file)
        report = sky.db.load(
            "bare", {"Object": files}, schema=[OBJECT], replace_files=True
        )
        same_nights(sky, "bare", contents)
        return dict(report.replaced)

    assert load(nothing, nights[1]) == {}
    # All that is given is live already, under the first name.
    assert load(nothing, nothing) == {"Object": 200}
    assert load(*nights) == {}
    # The first is again what it was at first.
    assert load(nothing, nights[1]) == {"Object": 200}


def test_keys_that_others_refer_to_come_again_where_they_were(
    sky, tmp_path, monkeypatch
):
    files = [tmp_path / f"night{number}.parquet" for number in range(2)]
    nights = [night(file, number) for number, file in enumerate(files)]
    events = tmp_path / "events.parquet"
    ids = pa.concat_tables(nights)["objectId"]
    pq.write_table(pa.table({"eventId": np.arange(400), "objectId": ids}), events)
    inputs = {"Object": files, "Event": events}
    sky.db.load("held", inputs, schema=[OBJECT, EVENT], leaf_rows=40)
    both = """SELECT COUNT(*), SUM(e.eventId), SUM(o.objectId)
    FROM held.Object o JOIN held.Event e ON o.objectId = e.objectId"""
    answer, load = sky.rows(both), sky.db.load

    night(files[0], 0, ids=[*range(199), 10777])
    with pytest.raises(BadContribution, match=r"lack keys of the old.*such as 199"):
        load("held", {"Object": files[0]}, replace_files=True)
    night(files[0], 0, dec=45.0)
    with pytest.raises(BadContribution, match="elsewhere in the sky"):
        load("held", {"Object": files[0]}, replace_files=True)
    assert sky.rows(both) == answer
    same_nights(sky, "held", nights)

    better = nights[0].set_column(3, "mag", pa.array(np.full(200, 9.5, np.float32)))
    more = night(tmp_path / "more.parquet", 5).slice(0, 3)
    pq.write_table(pa.concat_tables([better, more]), files[0])
    # A child's file goes in the same load, whatever its director's does.
    pq.write_table(
        pa.table({"eventId": np.arange(400) + 1000, "objectId": ids}), events
    )
    load("held", inputs, replace_files=True)
    same_nights(sky, "held", [better, more, nights[1]])
    ((count, events_, objects),) = sky.rows(both)
    assert (count, events_, objects) == (400, answer[0][1] + 400_000, answer[0][2])
    assert sky.rows("SELECT COUNT(*) FROM held.Event WHERE eventId IN (7, 1007)") == [
        (1,)
    ]

    # Without the comparison, events would be left behind by their objects.
    monkeypatch.setattr(Rereading, "check_homes", lambda *_: None)
    night(files[0], 0, dec=45.0)
    load("held", {"Object": files[0]}, replace_files=True)
    assert sky.rows(both) != [(400, answer[0][1] + 400_000, answer[0][2])]
