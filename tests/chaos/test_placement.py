"""The czar or a worker dies at each step of moving copies: nothing is lost.

A worker is drained, then let in again; each time one program dies on the way.
"""

import random

import pytest
from support.chaos import CZAR, DEADLINE, SEED, WORKERS, Cluster, Watcher, some, turns
from support.processes import until

from qserv.errors import ClusterError
from qserv.failpoint import NAMES

MOVES = ("czar.placement.", "worker.pull.")
POINTS = sorted(name for name in NAMES if name.startswith(MOVES))
MOVING = WORKERS[-1]


@pytest.fixture(scope="module")
def cluster(loads, tmp_path_factory):
    """Start a cluster of its own: all that lies there is moved in each case."""
    with Cluster(tmp_path_factory.mktemp("moves")) as running:
        for number in (1, 2):
            loader = running.loader(loads.arguments("moved", number))
            assert loader.wait(DEADLINE) == 0, running.log_of("loader")
        yield running


def settled(cluster, holds):
    """Say whether all is where it shall be, and the moving worker has some or none."""
    worker = cluster.worker_id(MOVING)
    try:
        with cluster.connect() as db:
            shown = db.placement.show()
    except ClusterError:
        return False
    held = {w.id: w.chunks for w in shown.workers}
    return shown.replication.settled and bool(held[worker]) == holds


def move(cluster, holds):
    worker = cluster.worker_id(MOVING)
    with cluster.connect() as db:
        (db.placement.readmit if holds else db.placement.drain)(worker)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("turn", turns())
@pytest.mark.parametrize("point", some(POINTS, 3))
def test_copies_move_though_somebody_dies(cluster, loads, point, turn):
    cluster.clean()
    rng = random.Random(f"{SEED} {point} {turn}")
    with Watcher(cluster, loads.states("moved")) as watcher:
        watcher.acknowledged(2)
        for holds in (False, True):
            # Who gets copies takes them over.
            taker = MOVING if holds else rng.choice(WORKERS[:-1])
            victim = CZAR if point.startswith("czar") else taker
            before = cluster.fired(victim)
            cluster.arm(victim, point)
            move(cluster, holds)
            until(lambda: cluster.fired(victim) > before, DEADLINE)  # noqa: B023
            cluster.revive()
            until(lambda: settled(cluster, holds), DEADLINE)  # noqa: B023
    assert watcher.wrong == []
    assert watcher.asked > 0
    cluster.check(loads, "moved")
