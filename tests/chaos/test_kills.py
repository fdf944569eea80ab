"""A program is killed at every named point of a load: nothing half, lost or doubled.

Each case loads a release in two loads, the second appending to the first. In each of
them one program is armed, dies, and is started again; a loader that died or gave up is
run again with the same words. All the while somebody asks, and must see all of a load
or nothing of it.
"""

import random
import signal

import pytest
from support.chaos import (
    CZAR,
    DEADLINE,
    LOADER,
    ROUNDS,
    SEED,
    WORKERS,
    Watcher,
    some,
)
from support.processes import until
from support.twoloads import PAIRS, ROWS

from qserv import failpoint

TURNS = range(max(1, ROUNDS // 2))
"""Each turn is two rounds: there is an accident in both loads."""

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
LOADERS = [point for point in POINTS if VICTIMS[prefix(point)] == LOADER]
OTHERS = [point for point in POINTS if point not in LOADERS]
DISK = [p for p in POINTS if VICTIMS[prefix(p)] is None and not p.endswith("edged")]
REPLACING = [point for point in POINTS if point != "czar.publish.replaced"]
IN_SUITE = 25
"""Points that are tried in the whole suite, in two loads each."""


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


def chosen(point, turn, number):
    """Return the victim of a load and what it is armed with, from the seed."""
    rng = random.Random(f"{SEED} {point} {turn} {number}")
    time = rng.randint(1, OFTEN.get(point.rpartition(".")[0], 1))
    return VICTIMS[prefix(point)] or rng.choice(WORKERS), f"{point}:{time}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("point", LOADERS + some(OTHERS, IN_SUITE - len(LOADERS)))
def test_a_load_survives_a_death(cluster, loads, point, turn):
    release = f"k{POINTS.index(point)}_{turn}"
    live(cluster, loads, release, {n: chosen(point, turn, n) for n in (1, 2)})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("point", ["czar.publish.replaced", *some(REPLACING, 2)])
def test_a_load_that_replaces_survives_a_death(cluster, replacing, point, turn):
    """Whoever asks sees the old tables, or the new ones."""
    release = f"r{POINTS.index(point)}_{turn}"
    run_until_loaded(cluster, replacing.arguments(release, 1))
    live(cluster, replacing, release, {2: chosen(point, turn, 2)})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("point", some(DISK, 3))
def test_a_load_survives_a_broken_disk(cluster, loads, point, turn):
    release = f"d{DISK.index(point)}_{turn}"
    specs = {}
    for number, does in enumerate(("=enospc", "=eio"), 1):
        who, spec = chosen(point, turn, number)
        specs[number] = who, spec + does
    live(cluster, loads, release, specs)


@pytest.mark.timeout(300)
def test_a_czar_dies_while_a_load_is_gone_on_with(cluster, loads):
    first, second = (loads.arguments("again", number) for number in (1, 2))
    cluster.arm(CZAR, "czar.resume.written")
    before = cluster.fired(CZAR)
    killed = cluster.loader(first, "loader.file.sent")
    assert killed.wait(DEADLINE) == -signal.SIGKILL
    assert cluster.loader(first).wait(DEADLINE) != 0
    assert cluster.fired(CZAR) > before
    cluster.revive()
    run_until_loaded(cluster, first)
    run_until_loaded(cluster, second)
    check(cluster, loads, "again")


def live(cluster, loads, release, accidents):
    """Load with an accident each time, while somebody asks all the time."""
    with Watcher(cluster, loads.states(release)) as watcher:
        watcher.acknowledged(min(accidents) - 1)
        for number, (victim, spec) in accidents.items():
            print(f"{spec} of {victim} in load {number}")
            arguments = loads.arguments(release, number)
            # A worker that stays away while the second load sends is replaced.
            away = number == 2 and "stage" in spec
            if not have_accident(cluster, arguments, victim, spec, away=away):
                run_until_loaded(cluster, arguments)
            watcher.acknowledged(number)
    assert watcher.wrong == []
    assert watcher.asked > 0
    check(cluster, loads, release)


def have_accident(cluster, arguments, victim, spec, *, away):
    """Load with an armed victim that is started again; say whether all is loaded."""
    if victim != LOADER:
        cluster.arm(victim, spec)
    before = cluster.fired(victim)
    loader = cluster.loader(arguments, spec if victim == LOADER else "")

    def fired():
        return cluster.fired(victim) > before

    # The loader waits for a czar that comes back, and for a worker, a little.
    until(lambda: fired() or loader.poll() is not None, DEADLINE)
    if not away:
        cluster.revive()
    loaded = loader.wait(DEADLINE) == 0
    assert fired(), f"{spec} was never reached; {cluster.log_of('loader')}"
    cluster.revive()
    return loaded
