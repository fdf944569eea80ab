"""Damaged disks under a real cluster: right answers or typed errors, and repair."""

import hashlib
import random
from collections import defaultdict
from contextlib import suppress

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support import rot
from support.processes import until

import qserv
from qserv import patience
from qserv.catalog import checks
from qserv.errors import ClusterError
from qserv.local import offline

QUERIES = (
    "SELECT COUNT(*), SUM(objectId), MIN(ra), MAX(dec) FROM sky.Object",
    "SELECT class, COUNT(*), MIN(mag) FROM sky.Object GROUP BY class",
    """SELECT COUNT(*), SUM(s.sourceId) FROM sky.Object o
    JOIN sky.Source s ON o.objectId = s.objectId WHERE o.dec > 0""",
    "SELECT COUNT(*) FROM sky.Source",
)
SEED = 20261122


def rows(found):
    return sorted(
        (tuple(row.values()) for row in found.to_arrow().to_pylist()), key=repr
    )


def right(sky, query):
    """Return what plain DuckDB answers; sums of whole numbers come as Python's."""
    return sorted(sky.answer(query), key=repr)


def data_of(directory):
    """Return path -> its copies, of all workers."""
    found = defaultdict(list)
    for data in sorted(directory.glob("worker-*/data")):
        for file in sorted(data.rglob("*.parquet")):
            found[file.relative_to(data).as_posix()].append(file)
    return found


def one_a_chunk(files, chance):
    """Choose a file of each chunk and index shard: of each, a good copy is left."""
    chunks = defaultdict(list)
    for path in sorted(files):
        place, _, _ = path.rpartition("/")
        chunks[place.partition("Norder")[2] or place].append(path)
    return [chance.choice(paths) for paths in chunks.values()]


def findings(db, check):
    return [f for f in db.checks.examine().findings if f.check == check]


def well(db):
    """Say whether nothing is damaged, and every file has its copies."""
    return all(f.level == "ok" for c in ("damage", "copies") for f in findings(db, c))


def same(files, good):
    return all(
        file.exists() and hashlib.sha256(file.read_bytes()).digest() == good[path]
        for path, of_path in files.items()
        for file in of_path
    )


@pytest.fixture
def damaged(sky, tmp_path):
    """Load the sky twice over three workers; choose a copy of some files to hurt."""
    with qserv.LocalCluster(3, tmp_path) as db:
        sky.load(db, replicas=2)
        files = data_of(tmp_path)
        good = {p: hashlib.sha256(f[0].read_bytes()).digest() for p, f in files.items()}
        chosen = one_a_chunk(files, random.Random(SEED))
        db.files, db.good, db.chosen = files, good, chosen
        yield db


def test_answers_stay_right_while_disks_damage_files_and_all_are_repaired(damaged, sky):
    chance = random.Random(SEED)
    for number, path in enumerate(damaged.chosen):
        file = chance.choice(damaged.files[path])
        chance.choice(rot.DAMAGES)(file, chance)
        query = QUERIES[number % len(QUERIES)]
        assert rows(damaged.query(query)) == right(sky, query), (SEED, number, path)
    for _ in damaged.checks.scrub():
        pass
    until(lambda: well(damaged))
    assert same(damaged.files, damaged.good)
    assert list(damaged.cluster.directory.glob("worker-*/quarantine/*.json"))


def test_what_rots_in_silence_is_found_by_one_scrub(sky, tmp_path):
    with qserv.LocalCluster(3, tmp_path) as db:
        sky.load(db, replicas=2)
    files, chance = data_of(tmp_path), random.Random(SEED)
    good = {p: hashlib.sha256(f[0].read_bytes()) for p, f in files.items()}
    chosen = one_a_chunk(files, chance)
    for path in chosen:
        file = chance.choice(files[path])
        rot.flip(file, chance)
        worker = next(p for p in file.parents if p.name.startswith("worker-"))
        rot.trusted(worker / "verified.log", path, file, good[path].hexdigest())
    with qserv.LocalCluster(3, tmp_path) as db:
        steps = list(db.checks.scrub())
        assert sorted(p for s in steps for p, _ in s.damaged) == sorted(chosen)
        for query in QUERIES:
            assert rows(db.query(query)) == right(sky, query)
        until(lambda: well(db))
        assert same(files, {path: digest.digest() for path, digest in good.items()})


def test_the_only_copy_of_a_file_is_an_error_that_names_it_until_it_is_back(
    sky, tmp_path
):
    query = QUERIES[0]
    with qserv.LocalCluster(1, tmp_path) as db:
        sky.load(db)
        path, (file,) = next(
            (p, f) for p, f in data_of(tmp_path).items() if p.startswith("sky/Object/")
        )
        good = file.read_bytes()
        rot.flip(file, random.Random(SEED))
        with pytest.raises(ClusterError, match=r"of sky\.Object") as told:
            db.query(query).to_arrow()
        assert path in told.value.text
        until(lambda: any(f.level == "problem" for f in findings(db, "copies")))
        (problem,) = [f for f in findings(db, "copies") if f.level == "problem"]
        assert path in problem.text
        assert problem.remedy
        with pytest.raises(ClusterError):
            db.query(query).to_arrow()
        file.write_bytes(good)
        until(lambda: well(db))
        until(lambda: answered(db, query))
        assert rows(db.query(query)) == right(sky, query)


VICTIM = "worker-2"


def test_a_worker_may_die_while_it_moves_a_bad_copy_away(sky, tmp_path):
    arguments = {VICTIM: ["--failpoint", "worker.quarantine.moved"]}
    with qserv.LocalCluster(3, tmp_path, worker_arguments=arguments) as db:
        sky.load(db, replicas=2)
        arguments[VICTIM] = []
        file = next((tmp_path / VICTIM / "data").rglob("sky/Object/**/*.parquet"))
        good, before = file.read_bytes(), db.cluster.processes[VICTIM]
        rot.flip(file, random.Random(SEED))
        assert any(step.error for step in db.checks.scrub())
        for query in QUERIES:
            assert rows(db.query(query)) == right(sky, query)
        until(lambda: db.cluster.processes.get(VICTIM, before) != before)
        # The czar may not have noticed yet; all are really asked.
        until(lambda: all(f.level == "ok" for f in findings(db, "workers")))
        until(lambda: well(db))
        assert file.read_bytes() == good


def test_a_cluster_that_is_stopped_is_examined_from_its_directories(sky, tmp_path):
    with qserv.LocalCluster(2, tmp_path) as db:
        sky.load(db, replicas=2)
    assert not [f for f in found(tmp_path) if f.level != "ok"]
    path, (file, _) = next(iter(data_of(tmp_path).items()))
    rot.flip(file, random.Random(SEED))
    assert not [f for f in found(tmp_path) if f.level != "ok"], "it has its size"
    (damage,) = [f for f in found(tmp_path, verify=True) if f.level != "ok"]
    assert damage.check == "damage"
    assert path in damage.text
    assert file.exists(), "nothing was moved"
    file.unlink()
    (damage,) = [f for f in found(tmp_path) if f.level != "ok"]
    assert damage.text.endswith("it is missing")


def found(directory, **how):
    """Examine a cluster that is stopped; how full this disk is, is not our matter."""
    all_of_it = checks.findings(offline.examine(directory, **how))
    return [f for f in all_of_it if f.check != "disks"]


def answered(db, query):
    try:
        return bool(rows(db.query(query)))
    except ClusterError:
        return False


def test_a_load_does_not_make_a_damaged_file_be_forgotten(sky, tmp_path, monkeypatch):
    """A list of files without it would pass for whole."""
    # No other copy comes while the load waits for one.
    monkeypatch.setattr(patience, "COMMIT", (0.1,))
    more = sky.survey.rows["Object"]
    keys = pc.add(more["objectId"], 10**9)
    position = more.schema.get_field_index("objectId")
    pq.write_table(more.set_column(position, "objectId", keys), tmp_path / "m.parquet")
    query = "SELECT COUNT(*) FROM sky.Object WHERE mag > 0"
    with qserv.LocalCluster(1, tmp_path / "cluster") as db:
        sky.load(db)
        file = next((tmp_path / "cluster").rglob("sky/Object/**/*.parquet"))
        rot.flip(file, random.Random(SEED))
        with pytest.raises(ClusterError):
            db.query(query).to_arrow()
        until(lambda: any(f.level == "problem" for f in findings(db, "copies")))
        table = sky.survey.tables["Object"]
        with suppress(ClusterError):
            db.load("sky", {"Object": tmp_path / "m.parquet"}, schema=(table,))
        with pytest.raises(ClusterError):
            db.query(query).to_arrow()
