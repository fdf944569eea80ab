"""A load arrives whole and exact, or is aborted with a typed error."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from support.fake_cluster import fake_cluster
from support.loads import FILTER, FORCED, OBJECT, SOURCE, parquet

from qserv.catalog.snapshot import Role
from qserv.errors import (
    BadContribution,
    CzarUnavailable,
    InvalidRequest,
    WorkerUnavailable,
)
from qserv.ingest import keeping, peers, staging
from qserv.ingest.bulk import gathered, reading, tasks
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.loader import Settings, load
from qserv.ingest.progress import Phase
from qserv.sky import healpix

TABLES = (OBJECT, SOURCE, FORCED, FILTER)


@pytest.fixture
def czar():
    with fake_cluster() as czar:
        yield czar


@pytest.fixture(autouse=True)
def hurry(monkeypatch, tmp_path):
    """Do not wait for workers that are down, nor write rejects elsewhere."""
    monkeypatch.setattr(staging, "PAUSES", (0.01,))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Watch the temporary directory: nothing may stay in it."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def sky():
    rng = np.random.default_rng(2)
    ids = rng.permutation(3000) + 10**12
    ra, dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    return {"objectId": ids, "ra": ra, "dec": dec}


@pytest.fixture
def inputs(tmp_path, sky):
    rng = np.random.default_rng(3)
    which = rng.integers(0, 3000, 9000)
    ra, dec = sky["ra"][which], np.clip(sky["dec"][which] + 1e-3, -90, 90)
    ids = sky["objectId"][which]
    half = {name: values[:1500] for name, values in sky.items()}
    rest = {name: values[1500:] for name, values in sky.items()}
    parquet(tmp_path / "o1.parquet", OBJECT, **half)
    parquet(tmp_path / "o2.parquet", OBJECT, **rest)
    parquet(tmp_path / "s.parquet", SOURCE, objectId=ids, ra=ra, dec=dec)
    flux = np.where(which % 7 == 0, np.nan, which)
    parquet(tmp_path / "f.parquet", FORCED, objectId=ids, flux=flux)
    (tmp_path / "filter.csv").write_text("filterId,name\n1,g\n2,r\n")
    return {
        "Source": [tmp_path / "s.parquet"],
        "Object": [tmp_path / "o?.parquet"],
        "ForcedSource": [tmp_path / "f.parquet"],
        "Filter": [tmp_path / "filter.csv"],
    }


def run(czar, inputs, **options):
    tables = options.pop("tables", TABLES)
    progress = options.pop("progress", None)
    settings = Settings(**({"leaf_rows": 100} | options))
    return load(
        czar.endpoint,
        "dr1",
        inputs,
        tables=tables,
        settings=settings,
        progress=progress,
    )


def test_everything_arrives_once_where_it_was_placed(czar, inputs, sky):
    report = run(czar, inputs)
    assert report.rows == {
        "Object": 3000, "Source": 9000, "ForcedSource": 9000, "Filter": 2,
    }  # fmt: skip
    assert report.snapshot == 42
    assert report.chunks == len(czar.tree) > 20
    assert czar.aborted == []
    homes = dict(
        zip(
            sky["objectId"].tolist(), healpix.pixels(sky["ra"], sky["dec"]), strict=True
        )
    )
    for table, expected in report.rows.items():
        files = czar.files(table, Role.BASE)
        assert sum(rows.num_rows for _, rows in files) == expected
        for entry, rows in files:
            if table != "Filter":
                check_rows(entry, rows, homes)
    assert czar.index("Object") == homes
    assert czar.copies("Filter") == {"w0", "w1"}
    assert czar.files("Source", Role.OVERLAP) == []


def check_rows(entry, rows, homes):
    assert set(rows["_chunk"].to_pylist()) == {entry.chunk}
    found = rows["_healpix_29"].to_pylist()
    assert found == [homes[key] for key in rows["objectId"].to_pylist()]
    assert found == sorted(found)
    assert entry.bounds["_healpix_29"] == (found[0], found[-1])
    assert entry.bounds["objectId"][0] == min(rows["objectId"].to_pylist())


def test_what_was_read_is_told(czar, inputs):
    seen = []
    report = run(czar, inputs, progress=seen.append, who="me", pipeline="p 1")
    told = {
        Path(c.source).name: (c.table, c.rows, c.nulled) for c in czar.contributions
    }
    nulled = told["f.parquet"][2]
    assert nulled > 1000
    assert told == {
        "o1.parquet": ("Object", 1500, 0),
        "o2.parquet": ("Object", 1500, 0),
        "s.parquet": ("Source", 9000, 0),
        "f.parquet": ("ForcedSource", 9000, nulled),
        "filter.csv": ("Filter", 2, 0),
    }
    assert (report.nulled, report.wrapped) == (nulled, 0)
    assert report.files == {"Object": 2, "Source": 1, "ForcedSource": 1, "Filter": 1}
    assert (czar.begun.who, czar.begun.pipeline) == ("me", "p 1")
    assert list(dict.fromkeys(p.phase for p in seen)) == [
        phase for phase in Phase if phase is not Phase.WAITING
    ]
    sent = [p for p in seen if p.phase is Phase.SENDING]
    assert sent[-1].rows == sent[-1].total_rows == 21002
    assert sent[-1].size == report.size
    assert len(sent) > 5


def test_parts_stay_small(czar, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "PART_BYTES", 10_000)
    names = [f"{i}" * 100 for i in range(900)]
    path = parquet(tmp_path / "f.parquet", FILTER, filterId=range(900), name=names)
    run(czar, {"Filter": [path]})
    assert {fake.largest_part for fake, _ in czar.workers} == {10_000}


def test_more_rows_and_children_join_what_is_live(czar, tmp_path, inputs, sky):
    objects = {"Object": inputs.pop("Object")}
    run(czar, objects)
    tree, before = list(czar.tree), dict(czar.live)
    more = {"objectId": [5, 6], "ra": [10.0, 200.0], "dec": [0.0, 0.0]}
    path = parquet(tmp_path / "more.parquet", OBJECT, **more)
    report = run(czar, {**inputs, "object": [path]}, leaf_rows=None)
    assert czar.tree == tree
    assert before.items() <= czar.live.items()
    assert report.rows["Object"] == 2
    assert len(czar.index("Object")) == 3002
    homes = czar.index("Object")
    for table in ("Source", "ForcedSource"):
        for entry, rows in czar.files(table, Role.BASE):
            check_rows(entry, rows, homes)


def test_a_key_that_is_live_is_refused(czar, tmp_path, inputs, sky):
    run(czar, inputs)
    again = {"objectId": [1, sky["objectId"][0]], "ra": [1, 1], "dec": [1, 1]}
    path = parquet(tmp_path / "again.parquet", OBJECT, **again)
    with pytest.raises(BadContribution, match=r"again.parquet, row 2, column objectId"):
        run(czar, {"Object": [path]})


def test_another_holder_answers_for_a_shard(czar, tmp_path, inputs, sky):
    run(czar, inputs)
    ids = sky["objectId"][:1]
    more = parquet(tmp_path / "more.parquet", SOURCE, objectId=ids, ra=[0], dec=[0])
    for fake, _ in czar.workers:
        fake.trouble = "down"
    with pytest.raises(WorkerUnavailable, match=r"nobody answers for index shard 0 of"):
        run(czar, {"Source": [more]})


@pytest.mark.parametrize(
    ("trouble", "reason"), [("down", "Socket closed"), ("spoils", "read back other")]
)
def test_a_worker_in_trouble_whom_nobody_replaces_aborts_the_load(
    czar, inputs, trouble, reason
):
    czar.workers[1][0].trouble = trouble
    with pytest.raises(WorkerUnavailable, match=rf"w1: .*{reason}.* nobody can take"):
        run(czar, inputs)
    assert len(czar.aborted) == 1
    assert czar.live == {}


@pytest.mark.parametrize("trouble", ["down", "spoils"])
def test_another_worker_takes_the_place_of_one_in_trouble(inputs, sky, trouble):
    with fake_cluster(count=4) as czar:
        czar.workers[1][0].trouble = trouble
        report = run(czar, inputs)
        holders = {w for file in czar.live.values() for w in file.workers}
        assert holders == {"w0", "w2", "w3"}
        assert all(len(file.workers) >= 1 for file in czar.live.values())
        found = sum(rows.num_rows for _, rows in czar.files("Object", Role.BASE))
        assert found == report.rows["Object"] == 3000


def test_an_unchecked_answer_would_commit_spoilt_files(czar, inputs, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(staging, "_check", lambda *_: None)
    czar.workers[1][0].trouble = "spoils"
    run(czar, inputs)
    with pytest.raises((AssertionError, ValueError)):
        czar.files("Object", Role.BASE)


def test_a_bad_row_aborts_the_load(czar, tmp_path, inputs):
    bad = parquet(tmp_path / "s.parquet", SOURCE, objectId=[5], ra=[0], dec=[0])
    with pytest.raises(
        BadContribution, match=rf"{bad}, row 1, column objectId: 5 is not"
    ):
        run(czar, inputs)
    assert "is an orphan" in czar.aborted[0]
    (tmp_path / "qserv-rejects-dr1.csv").unlink()
    assert "place" not in czar.calls


@pytest.mark.parametrize("phase", [Phase.READING, Phase.SENDING, Phase.COMMITTING])
def test_an_interrupt_aborts_the_load(czar, inputs, phase):
    def interrupt(progress):
        if progress.phase is phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(czar, inputs, progress=interrupt)
    assert len(czar.aborted) == 1
    assert czar.live == {}


def test_a_load_of_nothing_is_a_load(czar, tmp_path):
    path = parquet(tmp_path / "o.parquet", OBJECT, objectId=[], ra=[], dec=[], mag=[])
    report = run(czar, {"Object": [path]})
    assert report.rows == {"Object": 0}
    assert report.chunks == 12


@pytest.mark.parametrize(
    ("inputs", "tables", "message"),
    [
        (
            {"Star": []},
            TABLES,
            r"there is no table Star in the schema, which has Object",
        ),
        ({"Object": []}, None, r"nothing says what the tables are"),
        ({}, TABLES, r"names at least one table, and each once, .* not nothing"),
        ({"Object": [], "OBJECT": []}, TABLES, r"each once, .* not Object, OBJECT"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_begins(
    czar, inputs, tables, message
):
    with pytest.raises(InvalidRequest, match=message):
        run(czar, inputs, tables=tables)
    assert czar.begun is None


def test_the_same_files_again_have_no_effect(czar, inputs):
    run(czar, inputs)
    before = dict(czar.live)
    report = run(czar, inputs)
    assert (report.rows, report.snapshot) == ({}, 42)
    assert len(report.already) == 5
    assert czar.live == before
    assert czar.aborted == []


def test_only_files_that_are_new_are_loaded(czar, tmp_path, inputs):
    run(czar, inputs)
    parquet(tmp_path / "o3.parquet", OBJECT, objectId=[5], ra=[1], dec=[1])
    report = run(czar, {"Object": [tmp_path / "o?.parquet"]}, leaf_rows=None)
    assert report.rows == {"Object": 1}
    assert [Path(name).name for name in report.already] == [
        "o1.parquet",
        "o2.parquet",
    ]
    assert len(czar.index("Object")) == 3001


def test_rows_know_the_file_that_they_came_from(czar, inputs, sky):
    run(czar, inputs)
    number = {Path(c.source).name: c.number for c in czar.contributions}
    source = {}
    for _, rows in czar.files("Object", Role.BASE):
        ids = rows["objectId"].to_pylist()
        source.update(zip(ids, rows["_source"].to_pylist(), strict=True))
    first = sky["objectId"][:1500].tolist()
    assert {source[key] for key in first} == {number["o1.parquet"]}
    assert set(source.values()) == {number["o1.parquet"], number["o2.parquet"]}


def test_a_load_that_was_left_is_gone_on_with(czar, inputs, scratch, monkeypatch):
    monkeypatch.setattr(peers, "PATIENCE", 0.0)
    czar.away = True
    with pytest.raises(CzarUnavailable) as caught:
        run(czar, inputs)
    assert "run the same command again" in caught.value.__notes__[0]
    assert len(list(scratch.iterdir())) == 1
    sent = [fake.staged for fake, _ in czar.workers]
    report = run(czar, inputs)
    assert report.resumed
    assert report.rows["Object"] == 3000
    assert [fake.staged for fake, _ in czar.workers] == sent
    assert sum(r.num_rows for _, r in czar.files("Source", Role.BASE)) == 9000


def test_a_load_that_was_left_would_be_read_again_without_its_notes(
    czar, inputs, scratch, monkeypatch
):
    """The guarantee, switched off."""
    monkeypatch.setattr(peers, "PATIENCE", 0.0)
    read = []
    whole = reading._Reading.run
    monkeypatch.setattr(
        reading._Reading, "run", lambda task: read.append(1) or whole(task)
    )
    for forget in (False, True):
        czar.away = True
        with pytest.raises(CzarUnavailable):
            run(czar, inputs, family=f"f{forget}")
        before = len(read)
        if forget:
            monkeypatch.setattr(Scratch, "once", lambda _self, _name, make: make())
        run(czar, inputs, family=f"f{forget}")
        assert (len(read) > before) is forget
        czar.tables, czar.live, czar.contents, czar.tree = {}, {}, {}, []


def test_a_dry_run_tells_and_loads_nothing(czar, inputs):
    report = run(czar, inputs, dry_run=True)
    assert report.dry
    assert report.snapshot == 0
    assert report.rows["Source"] == 9000
    assert report.tables["Object"].rows == 3000
    assert report.tables["Object"].overlap_rows > 0
    assert report.tables["Object"].size > 3000 * 16
    assert sum(report.orders.values()) == report.chunks > 20
    assert czar.calls == []
    assert [fake.staged for fake, _ in czar.workers] == [0, 0]


def test_a_dry_run_tells_of_all_bad_rows(czar, tmp_path, inputs, sky):
    ids = [sky["objectId"][0], 1, 2, 2]
    parquet(tmp_path / "o3.parquet", OBJECT, objectId=ids, dec=[0, 99, 1, 1])
    report = run(czar, inputs, dry_run=True)
    assert report.rejected == 3
    assert len(report.rejects.read_text().splitlines()) == 4


def test_bad_rows_of_all_kinds_are_told_at_once(czar, tmp_path, inputs):
    bad = {"objectId": [1, 2, 2], "dec": [99, 1, 1]}
    parquet(tmp_path / "o3.parquet", OBJECT, **bad)
    with pytest.raises(BadContribution, match=r"not within(.|\n)*duplicate key"):
        run(czar, inputs)


def test_bad_rows_may_be_left_out(czar, tmp_path, inputs, sky):
    ids = [sky["objectId"][0], 1, 2, 2]
    bad = parquet(tmp_path / "o3.parquet", OBJECT, objectId=ids, dec=[0, 99, 1, 1])
    report = run(czar, inputs, max_rejects=3)
    assert report.rows["Object"] == 3001
    assert report.rejected == 3
    assert len(czar.index("Object")) == 3001
    found = sum(rows.num_rows for _, rows in czar.files("Object", Role.BASE))
    assert found == 3001
    told = {Path(c.source).name: (c.rows, c.rejected) for c in czar.contributions}
    assert told["o3.parquet"] == (1, 3)
    lines = report.rejects.read_text().splitlines()
    assert lines[1:] == [
        f"Object,{bad},1,objectId,{ids[0]},{ids[0]} is a duplicate key",
        f"Object,{bad},2,dec,99.0,99.0 is not within ±90",
        f"Object,{bad},4,objectId,2,2 is a duplicate key",
    ]


def test_one_reject_too_many_leaves_nothing(czar, tmp_path, inputs):
    parquet(tmp_path / "o3.parquet", OBJECT, objectId=[1, 2], dec=[99, 99])
    with pytest.raises(BadContribution, match=r"2 are in .*rejects-dr1.csv"):
        run(czar, inputs, max_rejects=1)
    assert len(czar.aborted) == 1
    assert czar.live == {}


def test_many_processes_make_the_same_files(czar, inputs):
    run(czar, inputs)
    alone = {path: file.entry.sha256 for path, file in czar.live.items()}
    with fake_cluster() as other:
        run(other, inputs, processes=2)
        assert {p: f.entry.sha256 for p, f in other.live.items()} == alone


def test_a_leaf_too_large_for_a_task_becomes_several_files(czar, inputs, monkeypatch):
    monkeypatch.setattr(gathered, "SHARE_BYTES", 5000)
    monkeypatch.setattr(tasks, "SHARE_BYTES", 5000)
    monkeypatch.setattr(reading, "RUN_BYTES", 20_000)
    monkeypatch.setattr(tasks, "RUN_BYTES", 20_000)
    run(czar, inputs, leaf_rows=10**6)
    files = czar.files("Source", Role.BASE)
    assert len(files) > 24
    assert len({entry.chunk for entry, _ in files}) == 12
    homes = czar.index("Object")
    for entry, rows in files:
        check_rows(entry, rows, homes)
    assert sum(rows.num_rows for _, rows in files) == 9000


def test_a_loader_says_that_it_is_there(czar, inputs, monkeypatch):
    monkeypatch.setattr(keeping, "_SHARE", 10_000)
    run(czar, inputs)
    assert czar.kept
    assert {(kept.transaction, kept.attempt) for kept in czar.kept} == {("t1", 1)}


def test_nobody_there(inputs):
    with pytest.raises(CzarUnavailable, match=r"127.0.0.1:1"):
        load("127.0.0.1:1", "dr1", inputs, tables=TABLES)
