"""The czar or a worker dies at each step of moving copies: nothing is lost.

A worker is drained, then let in again; each time one program dies on the way.
"""

import pytest
from support.chaos import CZAR, DEADLINE, WORKERS, Cluster, Watcher, rounds, some
from support.processes import until

from qserv.errors import ClusterError
from qserv.failpoint import NAMES

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("moves")]

MOVES = ("czar.placement.", "worker.pull.", "durable.move.")
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
    """Ask for it; say whether the czar heard it before it died."""
    worker = cluster.worker_id(MOVING)
    try:
        with cluster.connect() as db:
            (db.placement.readmit if holds else db.placement.drain)(worker)
    except ClusterError:
        return False
    return True


def move_with_a_death(cluster, point, holds):
    """Move all copies to or from the moving worker, though somebody dies on the way."""
    # Of those who get copies; which of them get any depends on their names.
    takers = (MOVING,) if holds else WORKERS[:-1]
    victims = (CZAR,) if point.startswith("czar") else takers
    before = sum(map(cluster.fired, victims))
    for victim in victims:
        cluster.arm(victim, point)
    heard = move(cluster, holds)
    until(lambda: sum(map(cluster.fired, victims)) > before, DEADLINE)
    cluster.revive()
    if not heard:
        move(cluster, holds)
    until(lambda: settled(cluster, holds), DEADLINE)


@pytest.mark.parametrize(("turn", "point"), rounds(some(POINTS, 2), accidents=2))
def test_copies_move_though_somebody_dies(cluster, loads, point, turn):
    cluster.clean()
    with Watcher(cluster, loads.states("moved")) as watcher:
        watcher.acknowledged(2)
        for holds in (False, True):
            move_with_a_death(cluster, point, holds)
    assert watcher.wrong == []
    assert watcher.asked > 0
    cluster.check(loads, "moved")
