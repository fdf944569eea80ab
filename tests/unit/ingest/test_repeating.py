"""A load may be repeated, gone on with, rehearsed, and leave bad rows out."""

from pathlib import Path

import pytest
from support.loads import OBJECT, load_all, parquet

from qserv import patience
from qserv.catalog.snapshot import Role
from qserv.errors import BadContribution, CzarUnavailable, InvalidRequest
from qserv.ingest.bulk import reading
from qserv.ingest.bulk.scratch import Scratch
from qserv.ingest.progress import Phase

pytestmark = pytest.mark.usefixtures("hurry", "scratch")


def test_the_same_files_again_have_no_effect(czar, inputs):
    load_all(czar, inputs)
    before = dict(czar.live)
    report = load_all(czar, inputs)
    assert (report.rows, report.snapshot) == ({}, 42)
    assert len(report.already) == 5
    assert czar.live == before
    assert czar.aborted == []


def test_only_files_that_are_new_are_loaded(czar, tmp_path, inputs):
    load_all(czar, inputs)
    parquet(tmp_path / "o3.parquet", OBJECT, objectId=[5], ra=[1], dec=[1])
    report = load_all(czar, {"Object": [tmp_path / "o?.parquet"]}, leaf_rows=None)
    assert report.rows == {"Object": 1}
    assert [Path(name).name for name in report.already] == [
        "o1.parquet",
        "o2.parquet",
    ]
    assert len(czar.index("Object")) == 3001


def test_rows_know_the_file_that_they_came_from(czar, inputs, sky):
    load_all(czar, inputs)
    number = {Path(c.source).name: c.number for c in czar.contributions}
    source = {}
    for _, rows in czar.files("Object", Role.BASE):
        ids = rows["objectId"].to_pylist()
        source.update(zip(ids, rows["_source"].to_pylist(), strict=True))
    first = sky["objectId"][:1500].tolist()
    assert {source[key] for key in first} == {number["o1.parquet"]}
    assert set(source.values()) == {number["o1.parquet"], number["o2.parquet"]}


@pytest.mark.parametrize("checked", [True, False])
def test_a_file_that_changes_while_it_is_read_is_refused(
    czar, tmp_path, monkeypatch, checked
):
    """Else rows are live under the fingerprint of others, and may come again."""
    path = parquet(tmp_path / "o.parquet", OBJECT, objectId=[1], ra=[1], dec=[1])

    def changes(progress):
        if progress.phase is Phase.READING:
            parquet(path, OBJECT, objectId=[2, 3], ra=[1, 1], dec=[1, 1])

    if checked:
        with pytest.raises(BadContribution, match=r"o.parquet: was changed while it"):
            load_all(czar, {"Object": [path]}, progress=changes)
        assert (czar.live, len(czar.aborted)) == ({}, 1)
        return
    monkeypatch.setattr(reading, "check_unchanged", lambda _file: None)
    load_all(czar, {"Object": [path]}, progress=changes)
    assert czar.index("Object").keys() == {2, 3}


def test_a_load_that_was_left_is_gone_on_with(czar, inputs, scratch, monkeypatch):
    monkeypatch.setattr(patience, "CZAR", 0.0)
    czar.away = True
    with pytest.raises(CzarUnavailable) as caught:
        load_all(czar, inputs)
    assert "the same command goes on" in caught.value.__notes__[0]
    assert len(list(scratch.iterdir())) == 1
    sent = [fake.staged for fake, _ in czar.workers]
    report = load_all(czar, inputs)
    assert report.resumed
    assert report.rows["Object"] == 3000
    assert [fake.staged for fake, _ in czar.workers] == sent
    assert sum(r.num_rows for _, r in czar.files("Source", Role.BASE)) == 9000


def test_what_a_killed_loader_left_goes_once_its_load_is_live(czar, inputs, scratch):
    load_all(czar, inputs)
    (scratch / "qserv-load-t1-0" / "runs").mkdir(parents=True)
    load_all(czar, inputs)
    assert list(scratch.iterdir()) == []


def test_a_load_that_was_left_would_be_read_again_without_its_notes(
    czar, inputs, scratch, monkeypatch
):
    """The guarantee, switched off."""
    monkeypatch.setattr(patience, "CZAR", 0.0)
    read = []
    whole = reading._Reading.run
    monkeypatch.setattr(
        reading._Reading, "run", lambda task: read.append(1) or whole(task)
    )
    for forget in (False, True):
        czar.away = True
        with pytest.raises(CzarUnavailable):
            load_all(czar, inputs, family=f"f{forget}")
        before = len(read)
        if forget:
            monkeypatch.setattr(Scratch, "once", lambda _self, _name, make: make())
        load_all(czar, inputs, family=f"f{forget}")
        assert (len(read) > before) is forget
        czar.tables, czar.live, czar.contents, czar.tree = {}, {}, {}, []


def test_a_dry_run_tells_and_loads_nothing(czar, inputs):
    report = load_all(czar, inputs, dry_run=True)
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
    told = tmp_path / "r.csv"
    report = load_all(czar, inputs, dry_run=True, rejects=told)
    assert report.rejected == 3
    assert report.rejects == told
    assert len(report.rejects.read_text().splitlines()) == 4


def test_bad_rows_of_all_kinds_are_told_at_once(czar, tmp_path, inputs):
    bad = {"objectId": [1, 2, 2], "dec": [99, 1, 1]}
    parquet(tmp_path / "o3.parquet", OBJECT, **bad)
    with pytest.raises(BadContribution, match=r"not within(.|\n)*duplicate key"):
        load_all(czar, inputs)


def test_bad_rows_may_be_left_out(czar, tmp_path, inputs, sky):
    ids = [sky["objectId"][0], 1, 2, 2]
    bad = parquet(tmp_path / "o3.parquet", OBJECT, objectId=ids, dec=[0, 99, 1, 1])
    report = load_all(czar, inputs, max_rejects=3, rejects=tmp_path / "r.csv")
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


def test_what_is_left_out_is_told_before_anything_is_live(czar, tmp_path, inputs):
    parquet(tmp_path / "o3.parquet", OBJECT, objectId=[1, 2], dec=[99, 0])
    nowhere = tmp_path / "s.parquet" / "r.csv"
    with pytest.raises(InvalidRequest, match=r"bad rows .1. cannot be written to"):
        load_all(czar, inputs, max_rejects=1, rejects=nowhere)
    assert (czar.live, len(czar.aborted)) == ({}, 1)


def test_one_reject_too_many_leaves_nothing(czar, tmp_path, inputs):
    parquet(tmp_path / "o3.parquet", OBJECT, objectId=[1, 2], dec=[99, 99])
    with pytest.raises(BadContribution, match=r"2 are in .*r.csv"):
        load_all(czar, inputs, max_rejects=1, rejects=tmp_path / "r.csv")
    assert len(czar.aborted) == 1
    assert czar.live == {}
