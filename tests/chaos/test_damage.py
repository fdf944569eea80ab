"""A worker dies at each step of finding a bad copy: no answer comes of one, it goes.

A bit of a file is flipped, its worker is armed and asked to compare all that it has
with its checksums; it dies, is started again, and is asked once more.
"""

import random

import pytest
from support import rot
from support.chaos import DEADLINE, SEED, WORKERS, Watcher, rounds, some
from support.processes import until

from qserv.failpoint import NAMES

pytestmark = pytest.mark.timeout(300)

STEPS = ("worker.verified.", "worker.scrub.", "worker.quarantine.", "durable.write.")
POINTS = sorted(name for name in NAMES if name.startswith(STEPS))
OFTEN = {"worker.verified.kept": 8, "worker.scrub.file": 8}
"""Points that are passed for each file of a worker, which has more of them."""
RELEASE = "damaged"


@pytest.mark.parametrize(("turn", "point"), rounds(some(POINTS, 2)))
def test_a_bad_copy_goes_though_its_finder_dies(cluster, loads, point, turn):
    for number in (1, 2):
        cluster.load(loads.arguments(RELEASE, number))
    rng = random.Random(f"{SEED} {point} {turn}")
    victim = rng.choice(WORKERS)
    spec = f"{point}:{rng.randint(1, OFTEN.get(point, 1))}"
    path = rng.choice(sorted(p for p in cluster.held(victim) if p.startswith(RELEASE)))
    print(f"{spec} of {victim}, {path} is bad")
    before = cluster.fired(victim)
    with Watcher(cluster, loads.states(RELEASE)) as watcher:
        watcher.acknowledged(2)
        cluster.arm(victim, spec)
        rot.flip(cluster.base / victim / "data" / path, rng)
        scrub(cluster)
        until(lambda: cluster.fired(victim) > before, DEADLINE)
        cluster.revive()
        until(lambda: not scrub(cluster), DEADLINE)
        until(lambda: cluster.copies(RELEASE).get(path) == 2, DEADLINE)
    assert watcher.wrong == []
    assert watcher.asked > 0
    cluster.check(loads, RELEASE)


def scrub(cluster):
    """Have all files compared; return what was found, and who did not end."""
    with cluster.connect() as db:
        steps = list(db.checks.scrub())
    return [step for step in steps if step.error or step.damaged or step.trouble]
