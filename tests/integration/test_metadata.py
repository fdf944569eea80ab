"""The metadata is lost, and made again: of a backup, of the workers, in PostgreSQL."""

import json
import shutil
import signal
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.loads import FILTER, OBJECT, SOURCE, parquet
from support.processes import until

import qserv
from qserv import patience
from qserv.catalog import backup
from qserv.catalog.backends import backend
from qserv.cli.main import main
from qserv.errors import QservError
from qserv.storage.layout import WorkerDirectory
from qserv.storage.remembered import Remembered

TABLES = (OBJECT, SOURCE, FILTER)
VIEW = "SELECT objectId, ra, dec, mag FROM Object WHERE mag < 500"
QUERIES = [
    "SELECT COUNT(*) FROM dr1.Object",
    "SELECT COUNT(*) FROM dr1.Source",
    "SELECT name FROM dr1.Filter ORDER BY name",
    "SELECT COUNT(*) FROM dr1.Faint",
    (
        "SELECT SUM(o.objectId), COUNT(*) FROM dr1.Object o JOIN dr1.Source s "
        "ON o.objectId = s.objectId"
    ),
    (
        "SELECT COUNT(*) FROM dr1.Object a, dr1.Object b "
        "WHERE DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) < 0.016"
    ),
    *(
        f"SELECT ra, dec FROM dr1.Object WHERE objectId = {n}"
        for n in range(1, 1500, 75)
    ),
    *(
        "SELECT objectId FROM dr1.Object WHERE 1 = CONTAINS(POINT(ra, dec), "
        f"CIRCLE({ra}, {dec}, 8)) ORDER BY objectId"
        for ra in range(0, 360, 45)
        for dec in (-60, 0, 45)
    ),
]
FEW = 10
REBUILT = {"manifest_entry": {"id"}, "replica": {"entry_id", "verified"}}
"""Columns in which what is rebuilt may differ."""


@dataclass
class Sky:
    """Three loads of stars on three workers, two copies of each chunk."""

    place: Path
    parts: list[dict]
    directory: Path
    before: list
    saved: dict

    def again(self, tmp_path):
        """Copy the cluster's directory, so that a test may break it."""
        directory = tmp_path / "cluster"
        shutil.copytree(self.directory, directory)
        return directory


def part(place, number, rng):
    """Write the files of one load."""
    count = 500
    ids = np.arange(1 + number * count, 1 + (number + 1) * count)
    ra = rng.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    found = {
        "Object": parquet(
            place / f"o{number}.parquet", OBJECT, objectId=ids, ra=ra, dec=dec
        ),
        "Source": parquet(
            place / f"s{number}.parquet",
            SOURCE,
            sourceId=ids * 10,
            objectId=ids,
            ra=ra,
            dec=dec,
        ),
    }
    if number == 0:
        found["Filter"] = parquet(
            place / "f.parquet", FILTER, filterId=[1, 2], name=["u", "Δ"]
        )
    return found


def load(db, files):
    tables = [table for table in TABLES if table.name in files]
    db.load("dr1", files, schema=tables, leaf_rows=100)


def answers(db, count=None):
    return [db.query(text).to_arrow().to_pylist() for text in QUERIES[:count]]


def cluster(directory, **how):
    return qserv.LocalCluster(None, directory, replicas=2, restart=False, **how)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    place = tmp_path_factory.mktemp("metadata")
    rng = np.random.default_rng(6)
    parts = [part(place, number, rng) for number in range(4)]
    directory = place / "cluster"
    with qserv.LocalCluster(3, directory, replicas=2, restart=False) as db:
        for files in parts[:3]:
            load(db, files)
        db.create_view("dr1.Faint", VIEW, description='"faint", Δ')
        db.create_view("dr1.Gone", VIEW)
        db.drop_view("dr1.Gone")
        before = answers(db)
        # What is no load is remembered within seconds: here the last view.
        until(lambda: all(remembers(w, 6) for w in directory.glob("worker-*")))
        metadata("backup", place / "saved", "--dir", directory)
        db.cluster.kill("czar", signal.SIGKILL)
    saved = rows(place / "saved")
    return Sky(place, parts, directory, before, saved)


def remembers(worker, number):
    """Whether a worker remembers a snapshot."""
    remembered = Remembered(WorkerDirectory(worker))
    newest = remembered.newest()
    if newest is None:
        return False
    (part,) = (part for part in newest.parts if part.table == "snapshot")
    return part.rows == number + 1


def metadata(*arguments, status=0):
    """Run ``qserv metadata``; return what it said."""
    done = CliRunner().invoke(main, ["metadata", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


def rows(path):
    """Return what a backup holds: table -> rows, but for what may differ."""
    found = {}
    with backup.opened(path) as (made, read):
        for name in made.parts:
            columns, *lines = read(name.sha256).splitlines()
            for line in lines:
                row = dict(zip(json.loads(columns), json.loads(line), strict=True))
                own = REBUILT.get(name.table, ())
                kept = {k: v for k, v in row.items() if k not in own}
                found.setdefault(name.table, []).append(kept)
    found.pop("cluster")
    found.pop("worker")  # says when it joined, and where it listens now
    return {name: sorted(each, key=repr) for name, each in found.items()}


def lost(directory):
    """Lose the metadata."""
    shutil.rmtree(directory / "czar")


def saved(directory, tmp_path):
    metadata("backup", tmp_path / "again", "--dir", directory)
    return rows(tmp_path / "again")


def test_rebuilt_metadata_is_what_was_lost(sky, tmp_path):
    directory = sky.again(tmp_path)
    lost(directory)
    said = metadata("rebuild", "--dir", directory)
    assert "made of 3 workers" in said
    assert saved(directory, tmp_path) == sky.saved
    with cluster(directory) as db:
        assert answers(db) == sky.before
        assert [v.name for v in db.views()] == ["Faint"]
        load(db, sky.parts[3])
        assert db.query(QUERIES[0]).to_arrow()[0][0].as_py() == 2000


@pytest.mark.parametrize("gone", ["worker-1", "worker-3"])
def test_with_one_worker_missing_everything_is_found(gone, sky, tmp_path):
    directory = sky.again(tmp_path)
    lost(directory)
    rest = sorted(w for w in directory.glob("worker-*") if w.name != gone)
    said = metadata(
        *("rebuild", "--dir", directory),
        *(f"--worker-dir={worker}" for worker in rest),
    )
    assert "was not read: its copies are not listed" in said
    found = saved(directory, tmp_path)
    assert {k: v for k, v in found.items() if k != "replica"} == {
        k: v for k, v in sky.saved.items() if k != "replica"
    }
    with cluster(directory) as db:
        assert answers(db) == sky.before


def test_with_two_workers_missing_nothing_is_made(sky, tmp_path):
    directory = sky.again(tmp_path)
    lost(directory)
    only = directory / "worker-2"
    arguments = ("rebuild", "--dir", directory, "--worker-dir", only)
    said = metadata(*arguments, status=1)
    assert "error Q5004: of dr1." in said
    assert "accept the loss with --allow-loss" in said
    metadata("backup", tmp_path / "none", "--dir", directory, status=2)


def test_running_workers_are_asked(sky, tmp_path):
    directory = sky.again(tmp_path)
    with cluster(directory) as db:
        places = [worker.endpoint for worker in db.status().workers]
        db.cluster.kill("czar", signal.SIGKILL)
        lost(directory)
        said = metadata(
            *("rebuild", "--dir", directory),
            *(f"--worker={place}" for place in places),
        )
    assert "made of 3 workers" in said
    assert saved(directory, tmp_path) == sky.saved
    with cluster(directory) as db:
        assert answers(db, FEW) == sky.before[:FEW]


def test_what_was_acknowledged_a_moment_ago_is_there(sky, tmp_path):
    directory = sky.again(tmp_path)
    with cluster(directory) as db:
        load(db, sky.parts[3])
        db.cluster.kill("czar", signal.SIGKILL)
    lost(directory)
    assert "aborted" not in metadata("rebuild", "--dir", directory)
    with cluster(directory) as db:
        assert db.query(QUERIES[0]).to_arrow()[0][0].as_py() == 2000


def test_a_load_caught_before_its_publication_never_was(sky, tmp_path, monkeypatch):
    directory = sky.again(tmp_path)
    monkeypatch.setenv("QSERV_FAILPOINT", "metadata.publish.written")
    # Nobody starts the czar again, for whom a loader would wait.
    monkeypatch.setattr(patience, "CZAR", 1.0)
    with cluster(directory) as db, pytest.raises(QservError):
        load(db, sky.parts[3])
    monkeypatch.delenv("QSERV_FAILPOINT")
    newest = [
        max(int(each.stem) for each in worker.glob("manifests/dr1/Object/*.json"))
        for worker in directory.glob("worker-*")
    ]
    assert max(newest) > max(s["id"] for s in sky.saved["snapshot"]), "installed"
    lost(directory)
    said = metadata("rebuild", "--dir", directory)
    assert "was under way: it is aborted" in said
    with cluster(directory) as db:
        assert answers(db, FEW) == sky.before[:FEW]
        load(db, sky.parts[3])
        assert db.query(QUERIES[0]).to_arrow()[0][0].as_py() == 2000
        assert db.query(QUERIES[1]).to_arrow()[0][0].as_py() == 2000


def test_a_cluster_moves_to_postgresql(sky, postgres, tmp_path):
    directory = sky.again(tmp_path)
    place = postgres.database()
    metadata("backup", tmp_path / "saved", "--dir", directory)
    said = metadata(
        "restore", tmp_path / "saved", "--dir", directory, "--metadata", place
    )
    assert f"the metadata in {place.split('?', maxsplit=1)[0]}" in said
    with cluster(directory) as db:
        assert answers(db, FEW) == sky.before[:FEW]
        load(db, sky.parts[3])
        metadata("backup", tmp_path / "while", "--dir", directory)
    with closing(backend(directory / "czar")) as there:
        assert there.engine.name == "postgresql"
    with cluster(directory) as db:
        assert db.query(QUERIES[0]).to_arrow()[0][0].as_py() == 2000
