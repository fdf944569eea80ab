"""Every query of every ``*.slt`` file, answered by three workers and by the oracle.

The workers are processes of their own behind gRPC; the oracle is one plain DuckDB with
all rows. The same queries run on trees of 12, about 60 and about 400 leaves and on a
sky inside one base pixel, with batches of one chunk and of all.
"""

import functools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.chunks import Chunks
from support.oracle import Oracle, same
from support.survey import survey

import qserv

SKIES = {
    # release: inside one base pixel?, rows in a leaf at most, leaves that this makes
    "twelve": (False, 10**6, 12),
    "sixty": (False, 45, 60),
    "hundreds": (False, 12, 417),
    "pixel": (True, 30, 150),
}
BATCHES = {"one": 1, "all": 10**6}
FILES = sorted(Path(__file__).parent.glob("*.slt"))


def queries(path: Path) -> list[str]:
    """Return the queries of a file: what stands between ``query`` and a blank line."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [
        b.removeprefix("query\n").strip() for b in blocks if b.startswith("query\n")
    ]


@pytest.fixture(scope="session")
def skies():
    """Make the surveys, and what their snapshots hold, for the oracle."""
    return {
        release: Chunks(survey(one_pixel=one), rows, release=release)
        for release, (one, rows, _) in SKIES.items()
    }


@pytest.fixture(scope="session")
def oracle(skies):
    """Return a function from query and release to the rows, each worked out once."""
    plain = Oracle({release: sky.survey.rows for release, sky in skies.items()})

    @functools.cache
    def answer(text: str, release: str) -> pa.Table:
        return plain.answer(text, skies[release].snapshot, release)

    return answer


@pytest.fixture(scope="session")
def cluster(skies, tmp_path_factory):
    place = tmp_path_factory.mktemp("sqllogic")
    with qserv.LocalCluster(workers=3) as db:
        for release, sky in skies.items():
            files = {
                name: place / f"{release}.{name}.parquet" for name in sky.survey.rows
            }
            for name, rows in sky.survey.rows.items():
                pq.write_table(rows, files[name])
            tables = tuple(sky.survey.tables.values())
            db.load(release, files, schema=tables, leaf_rows=SKIES[release][1])
        yield db


@pytest.mark.parametrize("release", SKIES)
def test_trees_have_the_leaves_that_they_should(cluster, skies, release):
    loaded = next(r for r in cluster.status().releases if r.name == release)
    assert loaded.chunks == len(skies[release].tree) == SKIES[release][2]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("release", SKIES)
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_three_workers_answer_as_the_oracle(cluster, oracle, path, release, batch):
    for written in queries(path):
        text = written.replace("t.Object", f"{release}.Object")
        result = cluster.query(text, release=release, batch_chunks=BATCHES[batch])
        found = result.to_arrow()
        expected = oracle(text, release)
        try:
            assert found.schema.types == expected.schema.types
            same(found, expected, in_order="ORDER BY" in text)
        except AssertionError as error:
            raise AssertionError(f"{release}, batches of {batch}: {text}") from error


@pytest.mark.parametrize("release", SKIES)
def test_a_narrow_cone_finds_a_row_that_lies_off_its_home(cluster, skies, release):
    """A source is measured half an arcsecond from its object, mostly in its chunk."""
    rows = skies[release].survey.rows["Source"].slice(0, 20).to_pylist()
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


def test_files_hold_queries_that_find_rows(oracle):
    """Guard against files that the reader above would skip, or that compare nothing."""
    for path in FILES:
        answers = [
            oracle(text.replace("t.Object", "twelve.Object"), "twelve")
            for text in queries(path)
        ]
        assert len(answers) >= 14
        assert sum(a.num_rows > 0 for a in answers) > len(answers) / 2
        assert all(isinstance(a, pa.Table) for a in answers)
