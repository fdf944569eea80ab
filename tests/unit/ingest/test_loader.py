"""A load arrives whole and exact, or is aborted with a typed error."""

from collections import Counter
from pathlib import Path

import pytest
from support.fake_cluster import fake_cluster
from support.loads import FILTER, FORCED, OBJECT, SOURCE, load_all, parquet

from qserv.catalog.snapshot import Role
from qserv.errors import (
    BadContribution,
    CzarUnavailable,
    InvalidRequest,
    LimitExceeded,
    WorkerUnavailable,
)
from qserv.ingest import job, keeping, staging
from qserv.ingest.bulk import gathered, leaves, reading, tasks
from qserv.ingest.formats import parquet as parquet_files
from qserv.ingest.loader import load
from qserv.ingest.progress import Phase
from qserv.sky import healpix

TABLES = (OBJECT, SOURCE, FORCED, FILTER)

pytestmark = pytest.mark.usefixtures("hurry", "scratch")


def check_rows(entry, rows, homes):
    assert set(rows["_chunk"].to_pylist()) == {entry.chunk}
    found = rows["_healpix_29"].to_pylist()
    assert found == [homes[key] for key in rows["objectId"].to_pylist()]
    assert found == sorted(found)
    assert entry.bounds["_healpix_29"] == (found[0], found[-1])
    assert entry.bounds["objectId"][0] == min(rows["objectId"].to_pylist())


def test_everything_arrives_once_where_it_was_placed(czar, inputs, sky):
    report = load_all(czar, inputs)
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


def test_what_was_read_is_told(czar, inputs):
    seen = []
    report = load_all(czar, inputs, progress=seen.append, who="me", pipeline="p 1")
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
    load_all(czar, {"Filter": [path]})
    assert {fake.largest_part for fake, _ in czar.workers} == {10_000}


def test_more_rows_and_children_join_what_is_live(czar, tmp_path, inputs, sky):
    objects = {"Object": inputs.pop("Object")}
    load_all(czar, objects)
    tree, before = list(czar.tree), dict(czar.live)
    more = {"objectId": [5, 6], "ra": [10.0, 200.0], "dec": [0.0, 0.0]}
    path = parquet(tmp_path / "more.parquet", OBJECT, **more)
    report = load_all(czar, {**inputs, "object": [path]}, leaf_rows=None)
    assert czar.tree == tree
    assert before.items() <= czar.live.items()
    assert report.rows["Object"] == 2
    assert len(czar.index("Object")) == 3002
    homes = czar.index("Object")
    for table in ("Source", "ForcedSource"):
        for entry, rows in czar.files(table, Role.BASE):
            check_rows(entry, rows, homes)


def test_a_key_that_is_live_is_refused(czar, tmp_path, inputs, sky):
    load_all(czar, inputs)
    again = {"objectId": [1, sky["objectId"][0]], "ra": [1, 1], "dec": [1, 1]}
    path = parquet(tmp_path / "again.parquet", OBJECT, **again)
    with pytest.raises(BadContribution, match=r"again.parquet, row 2, column objectId"):
        load_all(czar, {"Object": [path]})


def test_another_holder_answers_for_a_shard(czar, tmp_path, inputs, sky):
    load_all(czar, inputs)
    ids = sky["objectId"][:1]
    more = parquet(tmp_path / "more.parquet", SOURCE, objectId=ids, ra=[0], dec=[0])
    for fake, _ in czar.workers:
        fake.trouble = "down"
    with pytest.raises(WorkerUnavailable, match=r"nobody answers for index shard 0 of"):
        load_all(czar, {"Source": [more]})
    for fake, _ in czar.workers:
        fake.trouble = None
    assert load_all(czar, {"Source": [more]}).resumed


@pytest.mark.parametrize(
    ("trouble", "reason"), [("down", "Socket closed"), ("spoils", "read back other")]
)
def test_a_worker_in_trouble_whom_nobody_replaces_is_waited_for(
    czar, inputs, trouble, reason
):
    czar.workers[1][0].trouble = trouble
    with pytest.raises(
        WorkerUnavailable, match=rf"w1: .*{reason}.* nobody can take"
    ) as caught:
        load_all(czar, inputs)
    assert "qserv loads abort t1" in caught.value.__notes__[0]
    assert czar.aborted == []
    assert czar.live == {}
    czar.workers[1][0].trouble = None
    report = load_all(czar, inputs)
    assert report.resumed
    assert report.rows["Object"] == 3000


@pytest.mark.parametrize("trouble", ["down", "spoils", "slow"])
def test_another_worker_takes_the_place_of_one_in_trouble(inputs, sky, trouble):
    with fake_cluster(count=4) as czar:
        czar.workers[1][0].trouble = trouble
        report = load_all(czar, inputs)
        holders = {w for file in czar.live.values() for w in file.workers}
        assert holders == {"w0", "w2", "w3"}
        assert all(len(file.workers) >= 1 for file in czar.live.values())
        found = sum(rows.num_rows for _, rows in czar.files("Object", Role.BASE))
        assert found == report.rows["Object"] == 3000


@pytest.mark.parametrize("away", [0.0, 1.0])
def test_a_commit_does_not_wait_for_a_worker_for_ever(inputs, monkeypatch, away):
    monkeypatch.setattr("qserv.patience.COMMIT", (0.0, 0.0))
    monkeypatch.setattr(job, "_AWAY", away)
    with fake_cluster(count=4) as czar:

        def dies(progress):
            if progress.phase is Phase.COMMITTING:
                czar.gone = frozenset({"w0", "w1"})

        if away:
            with pytest.raises(WorkerUnavailable):
                load_all(czar, inputs, progress=dies)
            czar.gone = frozenset()
            assert load_all(czar, inputs).resumed
            return
        load_all(czar, inputs, progress=dies)
        assert not any(file.workers <= czar.gone for file in czar.live.values())
        assert len(czar.index("Object")) == 3000


def test_only_what_a_lost_worker_should_have_is_made_again(inputs):
    """It is tried by one task, whatever the others were to send there."""
    with fake_cluster(count=4) as czar:
        czar.workers[1][0].trouble = "down"
        report = load_all(czar, inputs)
        sent = sum((fake.sent for fake, _ in czar.workers), Counter())
        lost, *others = (czar.workers[n][0].sent for n in (1, 0, 2, 3))
        assert sum(lost.values()) <= 2 * staging._THREADS < len(czar.live)
        assert set(sum(others, Counter()).values()) <= {1, 2, 3}
        assert all(set(fake.values()) == {1} for fake in others)
        assert sent.keys() == czar.live.keys()
        files = sum(table.files for table in report.tables.values())
        assert files == len(czar.live)
        assert czar.calls.count("place") == 2


def test_a_task_is_given_what_is_known_of_its_own_files(czar, inputs, monkeypatch):
    given = []
    make = leaves.make
    monkeypatch.setattr(leaves, "make", lambda task: given.append(task) or make(task))
    monkeypatch.setattr("qserv.patience.CZAR", 0.0)
    czar.away = True
    with pytest.raises(CzarUnavailable):
        load_all(czar, inputs)
    # A czar that is restarted meanwhile is waited for.
    monkeypatch.setattr("qserv.patience.CZAR", 60.0)
    czar.restarts = 1
    load_all(czar, inputs)
    resumed = [task for task in given if task.staging.have]
    assert resumed
    for task in resumed:
        chunks = {(task.role, chunk) for chunk in task.workers}
        known = {
            (f.entry.role, f.entry.chunk)
            for p, f in czar.live.items()
            if p in task.staging.have
        }
        assert known <= chunks


def test_an_unchecked_answer_would_commit_spoilt_files(czar, inputs, monkeypatch):
    """The guarantee, switched off."""
    monkeypatch.setattr(staging, "_check", lambda *_: None)
    czar.workers[1][0].trouble = "spoils"
    load_all(czar, inputs)
    with pytest.raises((AssertionError, ValueError)):
        czar.files("Object", Role.BASE)


def test_a_bad_row_aborts_the_load(czar, tmp_path, inputs):
    bad = parquet(tmp_path / "s.parquet", SOURCE, objectId=[5], ra=[0], dec=[0])
    with pytest.raises(
        BadContribution, match=rf"{bad}, row 1, column objectId: 5 is not"
    ):
        load_all(czar, inputs)
    assert "is an orphan" in czar.aborted[0]
    assert "place" not in czar.calls


@pytest.mark.parametrize("phase", [Phase.READING, Phase.SENDING, Phase.COMMITTING])
def test_an_interrupt_aborts_the_load(czar, inputs, phase):
    def interrupt(progress):
        if progress.phase is phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_all(czar, inputs, progress=interrupt)
    assert len(czar.aborted) == 1
    assert czar.live == {}


@pytest.mark.parametrize("free", [0, 10_000])
def test_what_a_disk_cannot_hold_is_refused_before_it_is_sent(czar, inputs, free):
    czar.workers[1][1].disk_free = free
    with pytest.raises(LimitExceeded, match=r"needs about 0.0 GiB on worker w1 at"):
        load_all(czar, inputs)
    assert [fake.staged for fake, _ in czar.workers] == [0, 0]
    assert len(czar.aborted) == 1


def test_a_load_of_nothing_is_a_load(czar, tmp_path):
    path = parquet(tmp_path / "o.parquet", OBJECT, objectId=[], ra=[], dec=[], mag=[])
    report = load_all(czar, {"Object": [path]})
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
        load_all(czar, inputs, tables=tables)
    assert czar.begun is None


def test_many_processes_make_the_same_files(czar, inputs):
    load_all(czar, inputs)
    alone = {path: file.entry.sha256 for path, file in czar.live.items()}
    with fake_cluster() as other:
        load_all(other, inputs, processes=2)
        assert {p: f.entry.sha256 for p, f in other.live.items()} == alone


def test_a_leaf_too_large_for_a_task_becomes_several_files(czar, inputs, monkeypatch):
    monkeypatch.setattr(gathered, "SHARE_BYTES", 5000)
    monkeypatch.setattr(tasks, "SHARE_BYTES", 5000)
    monkeypatch.setattr(reading, "RUN_BYTES", 20_000)
    monkeypatch.setattr(tasks, "RUN_BYTES", 20_000)
    load_all(czar, inputs, leaf_rows=10**6)
    files = czar.files("Source", Role.BASE)
    assert len(files) > 24
    assert len({entry.chunk for entry, _ in files}) == 12
    homes = czar.index("Object")
    for entry, rows in files:
        check_rows(entry, rows, homes)
    assert sum(rows.num_rows for _, rows in files) == 9000


def test_a_replicated_table_too_large_for_a_task_becomes_several_files(
    czar, tmp_path, monkeypatch
):
    monkeypatch.setattr(parquet_files, "BATCH_ROWS", 50)
    monkeypatch.setattr(reading, "RUN_BYTES", 2_000)
    monkeypatch.setattr(tasks, "SHARE_BYTES", 10_000)
    path = parquet(
        tmp_path / "f.parquet", FILTER, filterId=range(900), name=["x"] * 900
    )
    load_all(czar, {"Filter": [path]})
    files = czar.files("Filter", Role.BASE)
    assert len(files) > 2
    found = [key for _, rows in files for key in rows["filterId"].to_pylist()]
    assert sorted(found) == list(range(900))


def test_a_loader_says_that_it_is_there(czar, inputs, monkeypatch):
    monkeypatch.setattr(keeping, "_SHARE", 10_000)
    load_all(czar, inputs)
    assert czar.kept
    assert {(kept.transaction, kept.attempt) for kept in czar.kept} == {("t1", 1)}


def test_nobody_there(inputs):
    with pytest.raises(CzarUnavailable, match=r"127.0.0.1:1"):
        load("127.0.0.1:1", "dr1", inputs, tables=(OBJECT, SOURCE, FORCED, FILTER))
