"""Workers that cannot read each other's directories answer all the same."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import confined
from support.processes import Program, until
from support.skies import kdtree_pairs

import qserv

NAMES = ("worker-1", "worker-2", "worker-3")

QUERIES = {
    "rows": "SELECT objectId, ra FROM sky.Object WHERE mag < 20",
    "merge": "SELECT class, COUNT(*) AS n FROM sky.Object GROUP BY class",
    "key": "SELECT objectId, visit FROM sky.Source WHERE objectId = 8",
    "join": """
        SELECT o.objectId, f.band, COUNT(*) AS n
        FROM sky.Object o JOIN sky.Source s ON o.objectId = s.objectId
        JOIN sky.Visit v ON s.visit = v.visit
        JOIN sky.Filter f ON v.filterId = f.filterId
        GROUP BY o.objectId, f.band
    """,
}
PAIRS = """
    SELECT COUNT(*) AS n FROM sky.Object a JOIN sky.Object b
    ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) <= 0.01
    WHERE a.objectId < b.objectId
"""


def launcher(base: Path, name: str) -> list[str]:
    """Return the words that start a command which sees only `name` below `base`."""
    return [sys.executable, confined.__file__, str(base), str(base / name)]


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Make the directories that the workers get, beside each other."""
    base = tmp_path_factory.mktemp("shared-nothing")
    for name in ("czar", *NAMES):
        (base / name).mkdir()
    return base


@pytest.fixture(scope="module")
def confined_cluster(sky, directories, tmp_path_factory):
    """Start a czar and workers, each confined to its own directory."""
    logs = tmp_path_factory.mktemp("logs")

    def start(name, *arguments):
        options = ("--dir", directories / name, "--port", 0)
        return Program(
            *arguments,
            *options,
            log=logs / f"{name}.log",
            launcher=launcher(directories, name),
        )

    with ExitStack() as stack:
        czar = stack.enter_context(start("czar", "czar"))
        endpoint = czar.ready()
        for name in NAMES:
            program = start(name, "worker", "--czar", endpoint)
            stack.enter_context(program).ready()
        db = stack.enter_context(qserv.connect(endpoint))
        until(lambda: sum(w.alive for w in db.status().workers) == len(NAMES))
        sky.load(db, "sky")
        yield db


def test_the_confinement_holds(directories):
    def run(*command):
        words = [*launcher(directories, "worker-1"), *map(str, command)]
        return subprocess.run(words, check=False, capture_output=True).returncode

    for name in NAMES:
        (directories / name / "secret").write_text("x")
    assert run("cat", directories / "worker-1" / "secret") == 0
    assert run("cat", directories / "worker-2" / "secret") != 0
    assert run("cat", directories / "czar" / "secret") != 0
    assert run("touch", directories / "worker-1" / "mine") == 0
    assert run("touch", directories / "worker-3" / "yours") != 0
    assert not (directories / "worker-3" / "yours").exists()


def test_each_worker_holds_a_share(confined_cluster, directories):
    held = {
        name: sum(1 for _ in (directories / name).rglob("*.parquet")) for name in NAMES
    }
    assert all(held.values()), held


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("batch_chunks", [0, 1])
def test_answers_are_exact(confined_cluster, sky, query, batch_chunks):
    found = confined_cluster.query(query, batch_chunks=batch_chunks).to_arrow()
    rows = [tuple(row.values()) for row in found.to_pylist()]
    expected = sky.answer(query)
    assert sorted(rows, key=repr) == sorted(expected, key=repr)


def test_neighbours_across_workers_are_found(confined_cluster, sky):
    objects = sky.survey.rows["Object"]
    pairs = kdtree_pairs(objects["ra"].to_numpy(), objects["dec"].to_numpy(), 0.01)
    found = confined_cluster.query(PAIRS).to_arrow()["n"].to_pylist()
    assert found == [len(pairs)]
