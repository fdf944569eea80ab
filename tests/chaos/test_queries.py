"""Workers die while they answer: every answer is right, or an error, never another.

They die in the middle of a batch, between its rows and its digest, and after rows of
theirs have reached the client; each worker's directory is closed to the others.
"""

import random
import threading

import pytest
from support.chaos import CZAR, ROUNDS, SEED, WORKERS, rounds, some, turns
from support.processes import until
from support.twoloads import two_loads

from qserv.errors import ClusterError, QservError

pytestmark = pytest.mark.timeout(300)

STREAMED = "SELECT objectId, ra, dec FROM {}.Object"
JOINED = """
    SELECT o.objectId, s.sourceId FROM {0}.Object o
    JOIN {0}.Source s ON o.objectId = s.objectId
"""
SORTED = "SELECT sourceId, flux FROM {}.Source ORDER BY flux, sourceId"
GROUPED = """
    SELECT objectId, COUNT(*) AS n, SUM(flux) AS f FROM {}.Source
    GROUP BY objectId HAVING COUNT(*) > 2
"""
EXCHANGED = """
    SELECT a.sourceId, b.sourceId AS other FROM {0}.Source a JOIN {0}.Source b
    ON a.flux = b.flux
"""
HALO = """
    SELECT a.objectId, b.objectId AS other FROM {0}.Object a JOIN {0}.Object b
    ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) <= 0.5
    WHERE a.mag < 4
"""
HALO_TRUTH = """
    SELECT a.objectId, b.objectId AS other FROM {0}.Object a JOIN {0}.Object b
    ON 2 * asin(least(1, sqrt(sin(radians(a.dec - b.dec) / 2) ** 2
      + cos(radians(a.dec)) * cos(radians(b.dec)) * sin(radians(a.ra - b.ra) / 2) ** 2
    ))) <= radians(0.5)
    WHERE a.mag < 4
"""
QUERIES = {
    "streamed": (STREAMED, STREAMED),
    "joined": (JOINED, JOINED),
    "sorted": (SORTED, SORTED),
    "grouped": (GROUPED, GROUPED),
    "exchanged": (EXCHANGED, EXCHANGED),
    "halo": (HALO, HALO_TRUTH),
}
POINTS = (
    "worker.task.data-sent",
    "worker.task.batch-sent",
    "worker.task.spooled",
)
DATA, BATCH, SPOOLED = POINTS
PLACES = {
    "before the digest": (DATA, 1),
    "in a later batch": (DATA, 3),
    "after a whole batch": (BATCH, 1),
    "after several": (BATCH, 3),
    "before it is told": (SPOOLED, 2),
    "while others read": (DATA, 1),
}
CASES = {
    f"{query}, {place}": (query, *spec)
    for query in QUERIES
    for place, spec in PLACES.items()
    # Rows that workers exchange stay on them until the last stage.
    if (query == "exchanged") == (place in {"before it is told", "while others read"})
}


@pytest.fixture(scope="session")
def loads(tmp_path_factory):
    """Make the files of two loads into many chunks."""
    return two_loads(tmp_path_factory.mktemp("many-chunks"), leaf_rows=60)


@pytest.fixture(autouse=True)
def _loaded(cluster, loads):
    for number in (1, 2):
        cluster.load(loads.arguments("sky", number))


def ask(cluster, query):
    """Return the rows that came, and the error that ended them, if one did."""
    rows = []
    with cluster.connect() as db:
        try:
            for batch in db.query(query.format("sky"), batch_chunks=1, timeout=60):
                rows += [tuple(row.values()) for row in batch.to_pylist()]
        except QservError as error:
            return rows, error
    return rows, None


def armed(cluster, point, time, *victims):
    for victim in victims:
        cluster.arm(victim, f"{point}:{time}")


@pytest.mark.parametrize(("turn", "case"), rounds(some(CASES, 7), share=0.5))
def test_with_a_second_copy_the_answer_is_right(cluster, loads, case, turn):
    name, point, time = CASES[case]
    query, truth = QUERIES[name]
    victim = random.Random(f"{SEED} {case} {turn}").choice(WORKERS)
    print(f"{victim} dies, {case}")
    armed(cluster, point, time, victim)
    rows, error = ask(cluster, query)
    assert error is None, error
    assert not cluster.alive(victim), f"{victim} did not die"
    cluster.revive()
    right = loads.answer(truth, 2)
    if name == "sorted":
        right.sort(key=lambda row: row[::-1])
    else:
        rows.sort()
    assert rows == right


@pytest.mark.parametrize(("turn", "name"), rounds(["streamed", "joined"], share=0.25))
def test_rows_that_have_reached_the_client_stay_right(cluster, loads, name, turn):
    query, _ = QUERIES[name]
    rng = random.Random(f"{SEED} {name} {turn}")
    victim, time = rng.choice(WORKERS), rng.randint(1, 3)
    before = cluster.fired(victim)
    cluster.arm(victim, f"{DATA}:{time}=stop")
    right = loads.answer(query, 2)
    with cluster.connect() as db:
        batches = iter(db.query(query.format("sky"), batch_chunks=1, timeout=60))
        came = [next(batches)]
        until(lambda: cluster.fired(victim) > before)
        assert 0 < came[0].num_rows < len(right), "it dies after some have come"
        cluster.programs[victim].process.kill()
        came += batches
    cluster.revive()
    rows = [tuple(row.values()) for batch in came for row in batch.to_pylist()]
    assert sorted(rows) == right


@pytest.mark.parametrize(("turn", "name"), rounds(some(QUERIES, 2), share=0.25))
def test_when_two_of_three_die_it_is_right_or_an_error(cluster, loads, name, turn):
    query, truth = QUERIES[name]
    point = SPOOLED if name == "exchanged" else DATA
    victims = random.Random(f"{SEED} {name} {turn}").sample(WORKERS, 2)
    armed(cluster, point, 2, *victims)
    rows, error = ask(cluster, query)
    assert not all(map(cluster.alive, victims)), f"none of {victims} died"
    cluster.revive()
    right = loads.answer(truth, 2)
    assert len(rows) == len(set(rows))
    assert set(rows) <= set(right)
    if error is None:
        assert len(rows) == len(right)
    else:
        assert isinstance(error, ClusterError), error
    again, error = ask(cluster, query)
    assert (sorted(again), error) == (right, None)


@pytest.mark.parametrize("turn", turns(share=0.2))
def test_whenever_a_worker_is_killed_answers_are_right_or_errors(cluster, loads, turn):
    rng = random.Random(f"{SEED} kills {turn}")
    for _ in range(20 if ROUNDS else 6):
        victim, name = rng.choice(WORKERS), rng.choice(sorted(QUERIES))
        seconds = rng.uniform(0, 0.4)
        print(f"{victim} is killed {seconds:.3f} s after {name} was asked")
        query, truth = QUERIES[name]
        right = loads.answer(truth, 2)
        killer = threading.Timer(seconds, cluster.programs[victim].process.kill)
        killer.start()
        # Until it is dead, and once more while the czar may not know that yet.
        dead = False
        while not dead:
            dead = not cluster.alive(victim)
            check_answer(name, *ask(cluster, query), right)
        killer.join()
        cluster.revive()


def check_answer(name, rows, error, right):
    """Assert that all rows came, once and in their order, or fewer and an error."""
    if error is not None:
        assert isinstance(error, ClusterError), error
        assert len(rows) == len(set(rows))
        assert set(rows) <= set(right)
    elif name == "sorted":
        assert rows == sorted(right, key=lambda row: row[::-1])
    else:
        assert sorted(rows) == right


@pytest.mark.parametrize(
    ("mechanism", "point", "what"),
    [
        ("digests", DATA, "doubled"),
        ("batches", BATCH, "doubled"),
        ("asking-again", BATCH, "missing"),
    ],
)
def test_without_its_mechanism_the_answer_is_wrong(
    cluster, loads, mechanism, point, what
):
    cluster.restart(CZAR, without=mechanism)
    cluster.wait_whole()
    armed(cluster, point, 1, WORKERS[1])
    rows, error = ask(cluster, STREAMED)
    assert error is None
    assert not cluster.alive(WORKERS[1])
    cluster.restart(CZAR)
    right = loads.answer(STREAMED, 2)
    assert (len(rows) > len(right)) == (what == "doubled")
    assert (len(rows) < len(right)) == (what == "missing")
