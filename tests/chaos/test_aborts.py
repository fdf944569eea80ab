"""Czar or worker die while a load that was given up is forgotten: nothing stays."""

import random
import signal
from contextlib import suppress

import pytest
from support.chaos import CZAR, DEADLINE, SEED, WORKERS, Watcher, rounds, some
from support.processes import until

from qserv import failpoint
from qserv.errors import ClusterError, Conflict

pytestmark = pytest.mark.timeout(300)

STEPS = ("worker.discard", "czar.abort")
POINTS = sorted(name for name in failpoint.NAMES if name.startswith(STEPS))


@pytest.mark.parametrize(("turn", "point"), rounds(some(POINTS, 2)))
def test_what_a_load_left_goes_though_somebody_dies(cluster, loads, point, turn):
    release = f"a{POINTS.index(point)}_{turn}"
    holder, *broken = random.Random(f"{SEED} {point} {turn}").sample(WORKERS, 3)
    victim = CZAR if point.startswith("czar") else holder
    cluster.arm(victim, point)
    # Two that cannot install leave no way to commit; the third has installed in vain.
    for name in broken:
        cluster.arm(name, "worker.install.asked:1+=eio")
    before = {name: cluster.fired(name) for name in (victim, *broken)}

    def stuck(name):
        return cluster.fired(name) > before[name]

    with Watcher(cluster, loads.states(release)) as watcher:
        loader = cluster.loader(loads.arguments(release, 1))
        until(lambda: any(map(stuck, broken)) or loader.poll() == 0, DEADLINE)
        loader.send_signal(signal.SIGINT)
        loader.wait(DEADLINE)
        # What is just being published is not given up: it is once that has failed.
        until(lambda: stuck(victim) or give_up(cluster, release), DEADLINE)
        cluster.revive()
        # An abort that was not written down is none: the load may be gone on with.
        if point != "czar.abort.asked":
            until(lambda: not cluster.leftovers() or print(cluster.leftovers()), 30)
    assert watcher.wrong == []
    assert watcher.seen == {0}
    until(lambda: cluster.loader(loads.arguments(release, 1)).wait(DEADLINE) == 0)
    until(lambda: not cluster.leftovers() or print(cluster.leftovers()), 30)


def give_up(cluster, release):
    """Abort what is open, if it can be; return nothing."""
    with suppress(ClusterError, Conflict), cluster.connect() as db:
        for load in db.loads(release):
            if not load.over:
                db.loads.abort(load.id, "its loader could not")
