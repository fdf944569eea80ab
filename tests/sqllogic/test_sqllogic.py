"""Every query of every ``*.slt`` file, answered by three workers and by the oracle.

The workers are processes of their own behind gRPC; the oracle is one plain DuckDB with
all rows. The skies are trees of 12, 60 and 417 leaves and a sky inside one base pixel;
batches are of one chunk, of a few or of all. A file runs on some of these (see `RUNS`),
and on all of them with ``pytest --everywhere``.

In a query ``t.Object`` is a table of the release that is asked, ``u.Object`` one of
another family, and ``RANGE(3, 6)`` the list ``3, 4, 5``.
"""

import functools
import math
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.chunks import Chunks
from support.oracle import Oracle, same
from support.survey import survey

import qserv
from qserv.plan.limits import Sizes
from qserv.plan.planner import plan

SKIES = {
    # release: inside one base pixel?, rows in a leaf at most, leaves that this makes
    "twelve": (False, 10**6, 12),
    "sixty": (False, 45, 60),
    "hundreds": (False, 12, 417),
    "pixel": (True, 30, 150),
}
OTHERS = {"twelve": "hundreds", "sixty": "twelve", "hundreds": "sixty"}
"""Release -> one of another family; of all others it is `SIXTY`."""
BATCHES = {"one": 1, "few": 7, "all": 10**6}
SIXTY = "sixty"
RUNS = ("sixty-few", "hundreds-all")
"""Where a file runs that does not say ``# runs: …`` itself."""
EVERYWHERE = tuple(f"{release}-{batch}" for release in SKIES for batch in BATCHES)
FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.slt"))}

pytestmark = pytest.mark.xdist_group("sqllogic")


def queries(path: Path) -> list[str]:
    """Return the queries of a file: what stands between ``query`` and a blank line."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [
        b.removeprefix("query\n").strip() for b in blocks if b.startswith("query\n")
    ]


def runs(path: Path) -> tuple[str, ...]:
    """Return on which trees, and in which batches, a file runs."""
    said = re.search(r"^# runs: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(said[1].split()) if said else RUNS


def spelled(written: str, release: str) -> str:
    """Write a query of a file for one release."""
    text = re.sub(r"\bt\.(?=[A-Z])", f"{release}.", written)
    text = re.sub(r"\bu\.(?=[A-Z])", f"{OTHERS.get(release, SIXTY)}.", text)
    return re.sub(r"RANGE\((\d+), (\d+)\)", _listed, text)


def _listed(ends: re.Match) -> str:
    return ", ".join(map(str, range(int(ends[1]), int(ends[2]))))


def is_ordered(text: str) -> bool:
    """Whether ORDER BY stands outside of all brackets."""
    while (less := re.sub(r"\([^()]*\)", "", text)) != text:
        text = less
    return "ORDER BY" in text


def pytest_generate_tests(metafunc):
    """Give each file the runs that it asks for."""
    if "run" in metafunc.fixturenames:
        everywhere = metafunc.config.getoption("--everywhere")
        pairs = [
            (stem, run)
            for stem, path in FILES.items()
            for run in (EVERYWHERE if everywhere else runs(path))
        ]
        metafunc.parametrize(("stem", "run"), pairs, ids=map("-".join, pairs))


@pytest.fixture(scope="session")
def world(surveys):
    """Partition all surveys in one place; the oracle binds names by its snapshot."""
    first, *rest = SKIES
    world = Chunks(surveys[first], SKIES[first][1], release=first)
    for release in rest:
        world.add(surveys[release], SKIES[release][1], release=release)
    return world


@pytest.fixture(scope="session")
def surveys():
    """Return the rows of each release."""
    made = {one: survey(one_pixel=one) for one in (False, True)}
    return {release: made[one] for release, (one, _, _) in SKIES.items()}


@pytest.fixture(scope="session")
def oracle(world, surveys):
    """Return a function from query and release to the rows.

    Releases of the same rows have the same answer, which is worked out once.
    """
    plain = Oracle({release: made.rows for release, made in surveys.items()})

    @functools.cache
    def answer(written: str, release: str) -> pa.Table:
        text = spelled(written, release)
        return plain.answer(text, world.snapshot, release)

    return lambda written, release: answer(
        written, release if SKIES[release][0] else SIXTY
    )


def load(db, place, surveys, *releases):
    """Load releases into a cluster."""
    for release in releases:
        made = surveys[release]
        files = {name: place / f"{release}.{name}.parquet" for name in made.rows}
        for name, rows in made.rows.items():
            pq.write_table(rows, files[name])
        tables = tuple(made.tables.values())
        db.load(release, files, schema=tables, leaf_rows=SKIES[release][1])


@pytest.fixture(scope="session")
def cluster(surveys, tmp_path_factory):
    with qserv.LocalCluster(workers=3) as db:
        load(db, tmp_path_factory.mktemp("sqllogic"), surveys, *SKIES)
        yield db


@pytest.fixture(scope="module")
def frugal(surveys, tmp_path_factory):
    """Start a cluster in which next to nothing may be sent to every worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QSERV_BROADCAST_MEMORY", "4KiB")
        with qserv.LocalCluster(workers=3) as db:
            load(db, tmp_path_factory.mktemp("frugal"), surveys, SIXTY)
            yield db


@pytest.mark.parametrize("release", SKIES)
def test_trees_have_the_leaves_that_they_should(cluster, world, release):
    loaded = next(r for r in cluster.status().releases if r.name == release)
    made = world.snapshot.families[release].tree
    assert loaded.chunks == len(made) == SKIES[release][2]


def test_three_workers_answer_as_the_oracle(cluster, oracle, stem, run):
    release, batch = run.split("-")
    for written in queries(FILES[stem]):
        compare(cluster, oracle, written, release, BATCHES[batch])


def compare(db, oracle, written, release, batch):
    text = spelled(written, release)
    expected = oracle(written, release)
    result = db.query(text, release=release, batch_chunks=batch)
    found = result.to_arrow()
    try:
        assert found.schema.types == expected.schema.types
        same(found, expected, in_order=is_ordered(text))
    except AssertionError as error:
        raise AssertionError(f"{release}, batches of {batch}: {text}") from error


def test_large_sides_are_joined_by_hash_and_answer_as_the_oracle(frugal, oracle):
    exchanged = 0
    for written in queries(FILES["joins_hash"]):
        exchanged += "by hash of" in frugal.explain(spelled(written, SIXTY))
        compare(frugal, oracle, written, SIXTY, 10)
    assert exchanged > 10


@pytest.mark.parametrize("stem", FILES)
def test_plans_that_exchange_all_they_can_answer_as_the_oracle(world, oracle, stem):
    """Sides larger than nothing are joined by hash, and groups merged in buckets."""
    sizes = Sizes(broadcast=1, merge=1, bucket=20_000)
    for written in queries(FILES[stem]):
        text = spelled(written, SIXTY)
        made = plan(text, world.snapshot, default_release=SIXTY, sizes=sizes)
        try:
            same(
                world.start(made, 10).answer(),
                oracle(written, SIXTY),
                in_order=is_ordered(text),
            )
        except AssertionError as error:
            raise AssertionError(text) from error


OTHERWISE = re.compile(
    r"\bTOP\b|POINT|DISTANCE|ILIKE|NATURAL|TRUNCATE|LOG|SQRT|ASIN| / |mag \+ 60000"
    r"|MEDIAN\(mag"
)
"""What DuckDB does not know, or gives another meaning."""


@pytest.mark.parametrize("stem", FILES)
def test_names_mean_what_they_mean_to_duckdb(surveys, oracle, stem):
    """The oracle binds names as the planner does; DuckDB reads the text itself."""
    plain = Oracle({SIXTY: surveys[SIXTY].rows, "twelve": surveys["twelve"].rows})
    plain.connection.execute(f"SET search_path = '{SIXTY}'")
    plain.connection.execute(
        "CREATE MACRO ivo_healpix_index(k, lon, lat) AS qserv_pixel(lon, lat) >> 58-2*k"
    )
    for written in queries(FILES[stem]):
        if OTHERWISE.search(written):
            continue
        found = plain.connection.sql(spelled(written, SIXTY)).to_arrow_table()
        expected = oracle(written, SIXTY)
        renamed = found.rename_columns(expected.column_names)
        assert alike(renamed) == alike(expected), written


def alike(rows):
    """Count the rows; 7 digits tell numbers of any type apart, and NaN is NULL."""
    columns = [[_plain(v) for v in c.to_pylist()] for c in rows.columns]
    return Counter(zip(*columns, strict=True))


def _plain(value):
    if isinstance(value, float | Decimal | int) and not isinstance(value, bool):
        if math.isnan(value):
            return None
        return float(f"{float(value):.7g}")
    return value


@pytest.mark.parametrize("release", SKIES)
def test_a_narrow_cone_finds_a_row_that_lies_off_its_home(cluster, surveys, release):
    """A source is measured half an arcsecond from its object, mostly in its chunk."""
    rows = surveys[release].rows["Source"].slice(0, 20).to_pylist()
    for row in rows:
        cone = f"CIRCLE({row['ra']!r}, {row['dec']!r}, 1e-5)"
        text = f"SELECT sourceId FROM Source WHERE 1 = CONTAINS(POINT(ra, dec), {cone})"
        found = cluster.query(text, release=release).to_arrow()
        assert row["sourceId"] in found["sourceId"].to_pylist()


@pytest.mark.parametrize("batch", BATCHES)
def test_rows_are_left_out_whatever_their_order(cluster, batch):
    text = "SELECT TOP 5 objectId FROM Object OFFSET 3"
    result = cluster.query(text, release="hundreds", batch_chunks=BATCHES[batch])
    assert len(set(result.to_arrow()["objectId"].to_pylist())) == 5


@pytest.mark.parametrize("stem", FILES)
def test_files_hold_queries_that_find_rows(oracle, stem):
    """Guard against files that the reader above would skip, or that compare nothing."""
    answers = [oracle(written, SIXTY) for written in queries(FILES[stem])]
    assert len(answers) >= 10
    assert sum(a.num_rows > 0 for a in answers) > len(answers) / 2
    assert set(runs(FILES[stem])) <= set(EVERYWHERE)
