"""Several loaders at once into one table: every row once, whoever came first."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.loads import OBJECT, parquet

import qserv
from qserv.errors import BadContribution

ROWS = 1000
SUM = "SELECT COUNT(*) AS n, SUM(objectId) AS s FROM dr1.Object WHERE ra > -1"


def part(place, number, first=None):
    rng = np.random.default_rng(number)
    ids = np.arange(ROWS) + (number * ROWS if first is None else first)
    ra = rng.uniform(0, 360, ROWS)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, ROWS)))
    return parquet(place / f"o{number}.parquet", OBJECT, objectId=ids, ra=ra, dec=dec)


@pytest.fixture
def db(tmp_path, monkeypatch):
    # Where rejected rows are written.
    monkeypatch.chdir(tmp_path)
    with qserv.LocalCluster(3, tmp_path / "cluster") as db:
        first = {"Object": part(tmp_path, 0)}
        db.load("dr1", first, schema=(OBJECT,), leaf_rows=200, replicas=2)
        yield db


def test_each_file_is_there_once(db, tmp_path):
    parts = [part(tmp_path, number) for number in range(1, 5)]

    def load(path):
        return db.load("dr1", {"Object": path}, schema=(OBJECT,)).snapshot

    with ThreadPoolExecutor() as pool:
        # Two loaders have the same file: one of them finds it loaded.
        snapshots = list(pool.map(load, [*parts, parts[0]]))

    assert sorted(set(snapshots)) == [2, 3, 4, 5]
    (found,) = db.query(SUM).to_arrow().to_pylist()
    assert found == {"n": 5 * ROWS, "s": sum(range(5 * ROWS))}
    assert {load.state for load in db.loads()} == {"committed"}
    numbers = [db.loads.show(load.id).inputs[0].number for load in db.loads()]
    assert len(set(numbers)) == 5


def test_a_key_comes_once_though_two_bring_it(db, tmp_path):
    both = [part(tmp_path, 7, first=9000), part(tmp_path, 8, first=9500)]

    def load(path):
        try:
            return db.load("dr1", {"Object": path}, schema=(OBJECT,)).snapshot
        except BadContribution as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        done, refused = sorted(pool.map(load, both), key=str)
    assert done == 2
    # Found among what was live at its beginning, or in the comparison of its commit.
    assert "is in the release already" in refused or "meanwhile, such as" in refused
    (found,) = db.query(SUM).to_arrow().to_pylist()
    assert found["n"] == 2 * ROWS
