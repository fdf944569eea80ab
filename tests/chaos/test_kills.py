"""A program is killed at every named point of a load: nothing half, lost or doubled.

Each case loads a release in two loads, the second appending to the first. One program
is armed, dies, and is started again; the loader is run again with the same words. All
the while somebody asks, and must see all of a load or nothing of it.
"""

import os
import random

import pytest
from support.chaos import CZAR, DEADLINE, LOADER, WORKERS, Cluster, Watcher
from support.processes import until
from support.twoloads import PAIRS, ROWS, two_loads

from qserv import failpoint

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))

VICTIMS = {
    "loader": LOADER,
    "czar.begin": CZAR,
    "czar.place": CZAR,
    "czar.contribute": CZAR,
    "czar.commit": CZAR,
    "czar.publish": CZAR,
    "metadata.publish": CZAR,
    "worker.stage": None,
    "worker.install": None,
    "durable.link": None,
}
"""Who passes a point in the life of a load; None: a worker, whichever."""
OFTEN = {"worker.stage": 6, "durable.link": 6}
"""Steps that each program takes at least so often in a load."""


def prefix(point):
    """Return what says who passes a point, if a load passes it."""
    names = point, point.rpartition(".")[0], point.partition(".")[0]
    return next((name for name in names if name in VICTIMS), None)


POINTS = sorted(point for point in failpoint.NAMES if prefix(point))
DISK = [p for p in POINTS if VICTIMS[prefix(p)] is None and not p.endswith("edged")]


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


def chosen(point, turn):
    """Return the victim of a case and what it is armed with, from the seed."""
    rng = random.Random(f"{SEED} {point} {turn}")
    time = rng.randint(1, OFTEN.get(point.rpartition(".")[0], 1))
    return VICTIMS[prefix(point)] or rng.choice(WORKERS), f"{point}:{time}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("point", POINTS)
def test_a_load_survives_a_death(cluster, loads, point, turn):
    victim, spec = chosen(point, turn)
    live(cluster, loads, f"k{POINTS.index(point)}_{turn}", victim, spec, turn % 2 + 1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", range(max(1, ROUNDS // 2)))
@pytest.mark.parametrize("point", DISK)
def test_a_load_survives_a_broken_disk(cluster, loads, point, turn):
    victim, spec = chosen(point, turn)
    number = DISK.index(point)
    action = ("=enospc", "=eio")[(number + turn) % 2]
    live(cluster, loads, f"d{number}_{turn}", victim, spec + action, turn % 2 + 1)


def live(cluster, loads, release, victim, spec, fails_in):
    """Load twice, with an accident in one load, while somebody asks all the time."""
    print(f"{spec} of {victim} in load {fails_in}")
    with Watcher(cluster, loads.states(release)) as watcher:
        for number in (1, 2):
            arguments = loads.arguments(release, number)
            if number == fails_in:
                have_accident(cluster, arguments, victim, spec, watcher, number)
            run_until_loaded(cluster, arguments)
            watcher.acknowledged(number)
    assert watcher.wrong == []
    assert watcher.asked > 0
    check(cluster, loads, release)


def have_accident(cluster, arguments, victim, spec, watcher, number):
    """Load with an armed victim, see what it was armed for, start it again."""
    if victim != LOADER:
        cluster.restart(victim, spec)
        cluster.wait_whole()
    before = cluster.fired(victim)
    loader = cluster.loader(arguments, spec if victim == LOADER else "")
    if loader.wait(DEADLINE) == 0:
        watcher.acknowledged(number)
    fired = cluster.fired(victim) > before
    assert fired, f"{spec} was never reached; {cluster.log_of('loader')}"
    cluster.revive()
