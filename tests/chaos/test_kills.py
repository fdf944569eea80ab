"""Programs are killed at every named point of a load: nothing half, lost or doubled.

Most cases load a release in two loads, the second appending to the first. In each of
them one program, or two, are armed, die, and are started again; a loader that died or
gave up is run again with the same words. All the while somebody asks, and must see all
of a load or nothing of it.
"""

import random
import re
import signal
from collections import defaultdict

import pytest
from support.chaos import (
    CZAR,
    DEADLINE,
    LOADER,
    ROUNDS,
    SEED,
    WORKERS,
    Watcher,
    rounds,
    some,
    turns,
)
from support.processes import until

from qserv import failpoint

pytestmark = pytest.mark.timeout(300)

VICTIMS = {
    "loader": LOADER,
    "czar.begin": CZAR,
    "czar.resume": CZAR,
    "czar.place": CZAR,
    "czar.contribute": CZAR,
    "czar.commit": CZAR,
    "czar.publish": CZAR,
    "metadata.publish": CZAR,
    "worker.stage": None,
    "worker.install": None,
    "durable.link": None,
    "durable.write": None,
    "rework": LOADER,
}
"""Who passes a point in the life of a load; None: a worker, whichever."""
OFTEN = {"worker.stage": 6, "durable.link": 6, "durable.write": 3}
"""Steps that a worker takes several times in a load, about so often."""


def prefix(point):
    """Return what says who passes a point, if a load passes it."""
    names = point, point.rpartition(".")[0], point.partition(".")[0]
    return next((name for name in names if name in VICTIMS), None)


RESUMED = "czar.resume.written"
REPLACED = "czar.publish.replaced"
FETCHED = "rework.file.fetched"
POINTS = sorted(point for point in failpoint.NAMES if prefix(point))
DISK = [p for p in POINTS if VICTIMS[prefix(p)] is None and not p.endswith("edged")]
LOADING = [point for point in POINTS if point not in {RESUMED, REPLACED, FETCHED}]
AWAY = "worker.stage.settled"
"""Who dies here stays away, in the second load: another takes what it was to get."""
IN_SUITE = (
    "loader.begin.begun",
    "loader.run.written",
    "loader.place.placed",
    "loader.file.sent",
    "loader.contribute.told",
    "loader.commit.answered",
    "czar.begin.written",
    "czar.place.reserved",
    "czar.place.written",
    "czar.contribute.checked",
    "czar.contribute.written",
    "czar.commit.asked",
    "czar.commit.written",
    "czar.commit.numbered",
    "czar.commit.installed",
    "czar.publish.files",
    "czar.commit.published",
    "czar.commit.remembered",
    "metadata.publish.written",
    "worker.stage.written",
    "worker.stage.settled",
    "worker.stage.acknowledged",
    "worker.install.linked",
    "worker.install.manifest",
    "worker.install.staging-removed",
)
"""Points that are tried in the whole suite, in two loads each."""


def run_until_loaded(cluster, arguments):
    """Run the loader with the same words until it says that all is loaded."""

    def loaded():
        return cluster.loader(arguments).wait(DEADLINE) == 0

    until(loaded, DEADLINE)


def chosen(point, turn, number):
    """Return the victim of a load and what it is armed with, from the seed."""
    rng = random.Random(f"{SEED} {point} {turn} {number}")
    often = OFTEN.get(point.rpartition(".")[0], 1) if turn else 1
    time = rng.randint(1, often)
    return VICTIMS[prefix(point)] or rng.choice(WORKERS), f"{point}:{time}"


def pairs(turn, points):
    """Return points in twos whose victims are two; a last one may be alone."""
    mixed = random.Random(f"{SEED} pairs {turn}").sample(points, len(points))
    kinds = defaultdict(list)
    for point in mixed:
        kinds[VICTIMS[prefix(point)]].append(point)
    while kinds:
        # Of those of whom there are most: so nobody is left over but of one kind.
        most = sorted(kinds, key=lambda who: (-len(kinds[who]), str(who)))[:2]
        yield tuple(kinds[who].pop() for who in most)
        kinds = {who: left for who, left in kinds.items() if left}


LOADED = [
    pytest.param(turn, pair, id=f"{turn}-{'+'.join(pair)}")
    for turn in turns(accidents=2, share=0.5)
    for pair in pairs(turn, LOADING if ROUNDS else IN_SUITE)
]
MADE_ANEW = rounds(some(LOADING, 1), accidents=2, share=0.25)


@pytest.mark.parametrize(("turn", "pair"), LOADED)
def test_a_load_survives_two_deaths(cluster, loads, pair, turn):
    release = f"k{POINTS.index(pair[0])}_{turn}"
    accidents = {n: [chosen(point, turn, n) for point in pair] for n in (1, 2)}
    live(cluster, loads, release, accidents)


@pytest.mark.parametrize(
    ("turn", "point"), [*rounds([REPLACED]), *rounds(some(LOADING, 1), share=0.25)]
)
def test_a_load_that_replaces_survives_a_death(cluster, replacing, point, turn):
    """Whoever asks sees the old tables, or the new ones."""
    release = f"r{POINTS.index(point)}_{turn}"
    live(cluster, replacing, release, {2: [chosen(point, turn, 2)]})


@pytest.mark.parametrize(
    ("turn", "point"), [*rounds([FETCHED], accidents=2), *MADE_ANEW]
)
def test_a_table_made_anew_survives_a_death(cluster, loads, point, turn):
    """Its rows are what they were, whoever asks, and whenever."""
    release = f"n{POINTS.index(point)}_{turn}"
    for number in (1, 2):
        run_until_loaded(cluster, loads.arguments(release, number))
    with Watcher(cluster, loads.states(release)) as watcher:
        watcher.acknowledged(2)
        for number, table in enumerate(("Object", "Source"), 1):
            words = ["table", "rebuild", f"{release}.{table}"]
            accidents = [chosen(point, turn, number)]
            try:
                have_accidents(cluster, words, accidents)
            except NotReached:
                have_accidents(cluster, words, early(accidents))
    assert watcher.wrong == []
    assert watcher.asked > 0
    cluster.check(loads, release)


@pytest.mark.parametrize(("turn", "point"), rounds(some(DISK, 2), accidents=4))
def test_a_load_survives_a_broken_disk(cluster, loads, point, turn):
    release = f"d{DISK.index(point)}_{turn}"
    specs = {}
    for number, does in enumerate(("=enospc", "=eio"), 1):
        who, spec = chosen(point, turn, number)
        specs[number] = [(who, spec + does)]
    live(cluster, loads, release, specs)


@pytest.mark.parametrize("turn", turns(accidents=2))
def test_a_czar_dies_while_a_load_is_gone_on_with(cluster, loads, turn):
    release = f"again_{turn}"
    with Watcher(cluster, loads.states(release)) as watcher:
        for number in (1, 2):
            go_on_with_a_dying_czar(cluster, loads.arguments(release, number))
            watcher.acknowledged(number)
    assert watcher.wrong == []
    cluster.check(loads, release)


def go_on_with_a_dying_czar(cluster, arguments):
    """Kill a loader; then the czar, when the next one goes on with the load."""
    before = cluster.fired(CZAR)
    cluster.arm(CZAR, RESUMED)
    killed = cluster.loader(arguments, "loader.file.sent")
    assert killed.wait(DEADLINE) == -signal.SIGKILL
    resuming = cluster.loader(arguments)
    until(lambda: cluster.fired(CZAR) > before, DEADLINE)
    cluster.revive()
    if resuming.wait(DEADLINE) != 0:
        run_until_loaded(cluster, arguments)


@pytest.mark.parametrize("turn", turns(accidents=2))
def test_a_worker_that_stays_away_at_a_commit_is_replaced(cluster, loads, turn):
    release = f"away_{turn}"
    victim = random.Random(f"{SEED} away {turn}").choice(WORKERS)
    with Watcher(cluster, loads.states(release)) as watcher:
        run_until_loaded(cluster, loads.arguments(release, 1))
        watcher.acknowledged(1)
        cluster.arm(victim, "worker.install.asked")
        loader = cluster.loader(loads.arguments(release, 2))
        assert loader.wait(DEADLINE) == 0, cluster.log_of("loader")
        assert not cluster.alive(victim)
        watcher.acknowledged(2)
    assert watcher.wrong == []
    cluster.revive()
    cluster.check(loads, release)


class NotReached(Exception):
    """A load ended before its victim had come to a point as often as it was to."""


def early(accidents):
    """Let each happen at the first time: which worker gets how many files varies."""
    return [(who, re.sub(r":\d+", ":1", spec)) for who, spec in accidents]


def live(cluster, loads, release, accidents):
    """Load with accidents each time, while somebody asks all the time."""
    try:
        live_with(cluster, loads, release, accidents)
    except NotReached:
        first = {number: early(each) for number, each in accidents.items()}
        live_with(cluster, loads, f"{release}_early", first)


def live_with(cluster, loads, release, accidents):
    for number in range(1, min(accidents)):
        run_until_loaded(cluster, loads.arguments(release, number))
    with Watcher(cluster, loads.states(release)) as watcher:
        watcher.acknowledged(min(accidents) - 1)
        for number, each in accidents.items():
            away = {who for who, spec in each if number == 2 and AWAY in spec}
            arguments = loads.arguments(release, number)
            have_accidents(cluster, arguments, each, away=away)
            watcher.acknowledged(number)
    assert watcher.wrong == []
    assert watcher.asked > 0
    cluster.check(loads, release)


def have_accidents(cluster, arguments, accidents, *, away=()):
    """Load, though armed victims die; they are started again but for who stays away."""
    print(f"{accidents} while {arguments}")
    armed = dict(accidents)
    before = {victim: cluster.fired(victim) for victim in armed}
    for victim in armed.keys() - {LOADER}:
        cluster.arm(victim, armed[victim])
    loader = cluster.loader(arguments, armed.get(LOADER, ""))
    back = set()

    def fallen():
        return {v for v in armed if cluster.fired(v) > before[v]} - back

    while loader.poll() != 0 or fallen():
        wait_for_an_end(loader, fallen)
        for victim in fallen():
            back.add(victim)
            if victim not in {LOADER, *away}:
                cluster.come_back(victim)
        if loader.poll():
            again = "" if LOADER in back else armed.get(LOADER, "")
            loader = cluster.loader(arguments, again)
    cluster.revive()
    if missed := armed.keys() - back:
        assert early(accidents) != accidents, f"{missed}: {cluster.log_of('loader')}"
        raise NotReached(missed)


def wait_for_an_end(loader, fallen):
    """Wait: a loader waits for a czar that comes back, and for a worker, a little."""
    until(lambda: fallen() or loader.poll() is not None, DEADLINE)
