"""Workers are added, drained, lost and come back: every answer stays exact."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
from support.loads import FILTER, OBJECT, SOURCE, parquet
from support.processes import until

import qserv
from qserv.errors import Conflict, InvalidRequest

TABLES = (OBJECT, SOURCE, FILTER)
ROWS = 2000
QUERIES = {
    "SELECT COUNT(*) AS n, SUM(objectId) AS s FROM dr1.Object WHERE ra > -1": (
        ROWS,
        ROWS * (ROWS + 1) // 2,
    ),
    "SELECT COUNT(*) AS n, SUM(o.objectId) AS s FROM dr1.Object o JOIN dr1.Source t "
    "ON o.objectId = t.objectId JOIN dr1.Filter f ON f.name = 'u'": (
        ROWS,
        ROWS * (ROWS + 1) // 2,
    ),
    "SELECT COUNT(*) AS n, SUM(objectId) AS s FROM dr1.Object WHERE objectId = 77": (
        1,
        77,
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write two loads: the first 2000 objects, then 100 more."""
    place = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(4)

    def made(name, first, count):
        ids = np.arange(first, first + count)
        ra = rng.uniform(0, 360, count)
        dec = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
        return {
            "Object": parquet(
                place / f"o{name}.parquet", OBJECT, objectId=ids, ra=ra, dec=dec
            ),
            "Source": parquet(
                place / f"s{name}.parquet", SOURCE, objectId=ids, ra=ra, dec=dec
            ),
        }

    filters = parquet(place / "f.parquet", FILTER, name=["u", "g"])
    return made(1, 1, ROWS) | {"Filter": filters}, made(2, ROWS + 1, 100)


@contextmanager
def serving(place, files, workers, replicas):
    with qserv.LocalCluster(workers, place, replicas=replicas, restart=False) as db:
        db.load("dr1", files[0], schema=TABLES, leaf_rows=100)
        yield db


def right(db, snapshot=None, more=0):
    """Check all queries, which see `more` objects beyond the first load's."""
    for text, (count, total) in QUERIES.items():
        extra = 0 if "77" in text else more
        sums = total + sum(range(ROWS + 1, ROWS + 1 + extra))
        (row,) = db.query(text, snapshot=snapshot, timeout=30).to_arrow().to_pylist()
        assert (row["n"], row["s"]) == (count + extra, sums), text


@contextmanager
def asked_all_the_time(db, more=0):
    """Ask again and again while the block runs; every answer must be right."""
    stop, asked, failed = threading.Event(), [], []

    def ask():
        try:
            with qserv.connect(db.endpoint) as mine:
                while not stop.is_set():
                    right(mine, more=more)
                    asked.append(1)
        except BaseException as error:  # noqa: BLE001 raised again below
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
    assert asked


def workers_of(db):
    return {worker.id: worker for worker in db.placement.show().workers}


def settle(db, done=lambda shown: True):
    """Wait until all copies are where they shall be; return the placement."""

    def is_done():
        shown = db.placement.show()
        return shown if shown.replication.settled and done(shown) else None

    until(is_done, seconds=30)
    return db.placement.show()


def data_files(db, name):
    data = db.cluster.directory / name / "data"
    return {str(f.relative_to(data)): f for f in data.rglob("*.parquet")}


def test_a_worker_that_is_added_takes_its_share_and_no_more(tmp_path, files):
    with serving(tmp_path, files, 2, 1) as db:
        before = {w: data_files(db, w) for w in ("worker-1", "worker-2")}
        bytes_before = {
            p: f.read_bytes() for d in before.values() for p, f in d.items()
        }
        held = {w: worker.chunks for w, worker in workers_of(db).items()}
        with asked_all_the_time(db):
            new = db.cluster.worker_id(db.cluster.add())
            shown = settle(
                db, lambda shown: new in {w.id for w in shown.workers if w.chunks}
            )
        chunks = {worker.id: worker.chunks for worker in shown.workers}
        (family,) = shown.families
        assert sum(chunks.values()) == family.chunks
        # A third of the chunks, and all of them from where they were too many.
        assert chunks[new] == family.chunks // 3
        assert all(chunks[worker] <= held[worker] for worker in held)
        moved = data_files(db, "worker-3")
        assert all(f.read_bytes() == bytes_before[p] for p, f in moved.items())
        for name, files_before in before.items():
            now = data_files(db, name).keys()
            assert now <= files_before.keys()
            both = {p for p in now & moved.keys() if "/all/" not in p}
            assert both == set(), "what moved was dropped where it had been"
        right(db)


def test_a_worker_is_drained_and_may_go(tmp_path, files):
    with serving(tmp_path, files, 3, 2) as db:
        gone = db.cluster.worker_id("worker-2")
        with asked_all_the_time(db):
            db.placement.drain(gone)
            shown = settle(db, lambda shown: not _size(shown, gone))
        worker = {w.id: w for w in shown.workers}.get(gone)
        assert (worker.chunks, worker.size, worker.state) == (0, 0, "draining")
        assert data_files(db, "worker-2") == {}
        db.cluster.kill("worker-2")
        right(db)
        with pytest.raises(Conflict, match=r"wants 2 copies .* only 1 workers"):
            db.placement.drain(db.cluster.worker_id("worker-1"))
        # Loads go on, without it.
        db.load("dr1", files[1], schema=TABLES)
        right(db, more=100)


def _size(shown, worker):
    return sum(w.size + w.chunks for w in shown.workers if w.id == worker)


def test_what_a_lost_worker_had_is_made_again(tmp_path, files):
    with serving(tmp_path, files, 3, 2) as db:
        lost = db.cluster.worker_id("worker-1")
        with asked_all_the_time(db):
            db.cluster.kill("worker-1")
            until(lambda: not workers_of(db)[lost].alive)
            until(lambda: db.status().replication.under > 0)
            db.placement.lost(lost)
            settle(db)
        # It is not let in again with what it had.
        db.cluster.revive("worker-1")
        until(lambda: "worker-1" not in db.cluster.processes)
        log = (tmp_path / "logs" / "worker-1.log").read_text()
        assert "was given up for lost" in log
        # Each of the two has everything now: either may go.
        db.cluster.kill("worker-3")
        right(db)


def test_a_worker_that_missed_a_load_catches_up(tmp_path, files):
    with serving(tmp_path, files, 3, 2) as db:
        first = db.status().snapshot
        away = db.cluster.worker_id("worker-3")
        db.cluster.kill("worker-3")
        until(lambda: not workers_of(db)[away].alive)
        db.load("dr1", files[1], schema=TABLES)
        right(db, more=100)
        with asked_all_the_time(db, more=100):
            db.cluster.revive("worker-3")
            until(lambda: workers_of(db)[away].alive)
            settle(db)
        for victim in ("worker-1",):
            db.cluster.kill(victim)
            right(db, more=100)
            right(db, snapshot=first)


def test_the_only_copy_is_not_given_up_by_mistake(tmp_path, files):
    with serving(tmp_path, files, 2, 1) as db:
        lost = db.cluster.worker_id("worker-2")
        with pytest.raises(Conflict, match="is alive: drain it"):
            db.placement.lost(lost)
        db.cluster.kill("worker-2")
        until(lambda: not workers_of(db)[lost].alive)
        with pytest.raises(Conflict, match=r"table dr1\.Object, chunks? \d+"):
            db.placement.lost(lost)
        db.cluster.revive("worker-2")
        until(lambda: workers_of(db)[lost].alive)
        right(db)


def test_a_family_is_told_another_number_of_copies(tmp_path, files):
    with serving(tmp_path, files, 2, 1) as db:
        with pytest.raises(InvalidRequest, match="3 copies need as many workers"):
            db.placement.replicas("dr1", 3)
        with asked_all_the_time(db):
            db.placement.replicas("dr1", 2)
            shown = settle(db, lambda shown: shown.families[0].replicas == 2)
            assert {w.chunks for w in shown.workers} == {shown.families[0].chunks}
            db.placement.replicas("DR1", 1)
            shown = settle(db, lambda shown: shown.families[0].replicas == 1)
        assert sum(w.chunks for w in shown.workers) == shown.families[0].chunks
        right(db)
