"""A program is killed at every named point of a load: nothing half, lost or doubled.

Each case loads a release in two loads, the second appending to the first. One program
is armed, dies, and is started again; the loader is run again with the same words. All
the while somebody asks, and must see all of a load or nothing of it.
"""

import os
import random
import signal

import pytest
from support.chaos import CZAR, DEADLINE, LOADER, WORKERS, Cluster, Watcher
from support.processes import until
from support.twoloads import PAIRS, ROWS, two_loads

from qserv import failpoint

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))

OTHERS = ("worker.task", "worker.discard", "durable")
"""Points that no load passes on its way, or that many programs pass."""
POINTS = sorted(n for n in failpoint.NAMES if not n.startswith(OTHERS))
OFTEN = {"worker.stage": 6}
"""Steps that a load takes at least so often in each program."""


@pytest.fixture(scope="module")
def loads(tmp_path_factory):
    return two_loads(tmp_path_factory.mktemp("two-loads"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("chaos")) as running:
        yield running


def run_until_loaded(cluster, arguments):
    """Run the loader with the same words until it says that all is loaded."""

    def loaded():
        return cluster.loader(arguments).wait(DEADLINE) == 0

    until(loaded, DEADLINE)


def check(cluster, loads, release):
    """Assert that the release is what plain DuckDB says, twice, and nothing else."""
    with cluster.connect() as db:
        for query in ROWS.values():
            found = db.query(query.format(release)).to_arrow().to_pylist()
            rows = sorted(tuple(row.values()) for row in found)
            assert rows == loads.answer(query, 2)
        (pairs,) = db.query(PAIRS.format(release)).to_arrow()["n"].to_pylist()
        assert pairs == loads.pairs(2)
    copies = cluster.copies(release)
    assert copies
    assert {path for path, count in copies.items() if count < 2} == set()
    until(lambda: not cluster.leftovers() or print(cluster.leftovers()), 15)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("point", POINTS)
def test_a_load_survives_a_death(cluster, loads, point, turn):
    rng = random.Random(f"{SEED} {point} {turn}")
    often = OFTEN.get(point.rpartition(".")[0], 1)
    spec = f"{point}:{rng.randint(1, often)}"
    victim = {"loader": LOADER, "czar": CZAR}.get(
        point.partition(".")[0], rng.choice(WORKERS)
    )
    dies_in = turn % 2 + 1
    print(f"{spec} of {victim} in load {dies_in}")
    release = f"r{POINTS.index(point)}_{turn}"
    with Watcher(cluster, loads.states(release)) as watcher:
        for number in (1, 2):
            arguments = loads.arguments(release, number)
            if number == dies_in:
                kill(cluster, arguments, victim, spec, watcher, number)
            run_until_loaded(cluster, arguments)
            watcher.acknowledged(number)
    assert watcher.wrong == []
    assert watcher.asked > 0
    check(cluster, loads, release)


def kill(cluster, arguments, victim, spec, watcher, number):
    """Load with an armed victim, see it dead, start it again."""
    if victim != LOADER:
        cluster.restart(victim, spec)
        cluster.wait_whole()
    loader = cluster.loader(arguments, spec if victim == LOADER else "")
    if (status := loader.wait(DEADLINE)) == 0:
        watcher.acknowledged(number)
    dead = status == -signal.SIGKILL if victim == LOADER else not cluster.alive(victim)
    assert dead, f"{spec} was never reached; {cluster.log_of('loader')}"
    cluster.revive()
