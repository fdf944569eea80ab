"""Who saves, restores, rebuilds or migrates metadata dies: all is done or nothing.

What is not done is seen at once: a czar that starts then answers as before.
"""

import random
import signal
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from support.chaos import CZAR, DEADLINE, SEED, turns

from qserv import sqltext
from qserv.catalog.backends import SQLITE, WRITES, backend
from qserv.catalog.database import formats, migrate, reflected
from qserv.failpoint import NAMES

pytestmark = pytest.mark.timeout(300)

MIGRATE = "metadata.migrate.applied"
MADE = ("backup", "restore", "rebuild")
POINTS = [*(f"metadata.{verb}.written" for verb in MADE), MIGRATE]
assert NAMES.issuperset(POINTS)


@pytest.mark.parametrize("turn", turns())
def test_metadata_is_made_whole_or_stays(cluster, loads, turn):
    release, saved = f"m{turn}", cluster.base / CZAR / "saved" / f"{turn}.qserv"
    saved.parent.mkdir(exist_ok=True)
    cluster.load(loads.arguments(release, 1))
    killed(cluster, "backup", saved)
    assert not saved.exists()
    done(cluster, "backup", saved)
    assert not list(saved.parent.glob(".*")), "something is left of what was killed"
    cluster.load(loads.arguments(release, 2))
    workers = [word for each in cluster.addresses() for word in ("--worker", each)]
    made_anew(cluster, loads, release, ("restore", "--force", saved), (2, 1))
    made_anew(cluster, loads, release, ("rebuild", "--force", *workers), (1, 2))
    cluster.check(loads, release)


def made_anew(cluster, loads, release, words, states):
    """Make metadata anew, killed, and again; a czar shows what there was and is."""
    for run, state in zip((killed, done), states, strict=True):
        cluster.stop(CZAR)
        run(cluster, *words)
        cluster.revive()
        check_state(cluster, loads, release, state)


def killed(cluster, verb, *words):
    """Be killed where all is written and nothing is to be seen."""
    command = ["metadata", verb, "--dir", cluster.base / CZAR, *words]
    dies = cluster.command(CZAR, command, f"metadata.{verb}.written")
    assert dies.wait(DEADLINE) == -signal.SIGKILL, cluster.log_of(CZAR)


def done(cluster, verb, *words):
    """Do the same to its end."""
    command = ["metadata", verb, "--dir", cluster.base / CZAR, *words]
    assert cluster.command(CZAR, command).wait(DEADLINE) == 0, cluster.log_of(CZAR)


def check_state(cluster, loads, release, state):
    """Assert that every query shows a state."""
    with cluster.connect() as db:
        for query, states in loads.states(release).items():
            rows = db.query(query, timeout=60).to_arrow().to_pylist()
            assert [tuple(row.values()) for row in rows] == states[state], query


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request):
    """Give a place without any metadata."""
    if request.param == "sqlite":
        yield SQLITE
        return
    server = request.getfixturevalue("postgres")
    url = server.database()
    yield url
    server.drop(url)


@pytest.mark.parametrize("turn", turns())
def test_a_newer_format_is_there_whole_or_not_at_all(cluster, place, turn):
    scripts = sqltext.migrations()
    rng = random.Random(f"{SEED} {place == SQLITE} {turn}")
    have = rng.randrange(len(scripts))
    spec = f"{MIGRATE}:{rng.randint(1, len(scripts) - have)}"
    print(f"{spec} from format {have}")
    directory = Path(tempfile.mkdtemp(dir=cluster.base / CZAR))
    with closing(backend(directory, place)) as old, begun(old) as connection:
        if have:
            migrate(connection, scripts[:have], "the test's metadata")
    before = of(directory, place)
    command = ["metadata", "accept", "--dir", directory, "--metadata", place]
    assert cluster.command(CZAR, command, spec).wait(DEADLINE) == -signal.SIGKILL
    assert of(directory, place) == before
    assert cluster.command(CZAR, command).wait(DEADLINE) == 0, cluster.log_of(CZAR)
    assert of(directory, place) == of(cluster.base / CZAR, SQLITE)


def begun(of_it):
    """Begin a transaction."""
    return of_it.engine.execution_options(**WRITES).begin()


def of(directory, place):
    """Return the formats that were applied, and every column that there is."""
    with closing(backend(directory, place)) as made, begun(made) as connection:
        tables = reflected(connection).values()
        columns = {str(column) for table in tables for column in table.columns}
        return formats(connection), columns
