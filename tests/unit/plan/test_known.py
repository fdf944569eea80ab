"""What the snapshot knows of whole tables answers queries, and nothing else does."""

from dataclasses import replace

import pyarrow as pa
import pytest
from support.chunks import Chunks
from support.oracle import Oracle, same
from support.survey import survey

from qserv.plan.explain import explain
from qserv.plan.plan import Fragment
from qserv.plan.planner import plan

KNOWN = [
    "SELECT MIN(mag), MAX(mag), COUNT(*) FROM Object",
    "SELECT MAX(dec) - MIN(dec) AS span, COUNT(*) / 2 FROM Object",
    "SELECT DISTINCT MIN(visit), MAX(DISTINCT mjd) FROM Visit",
]
READ = [
    "SELECT MIN(mag) FROM Object WHERE class = 1",
    "SELECT class, MIN(mag) FROM Object GROUP BY class",
    "SELECT MIN(mag) FROM Object HAVING COUNT(*) > 5",
    "SELECT MIN(mag), COUNT(mag) FROM Object",
    "SELECT MIN(name), MAX(extended) FROM Object",
    "SELECT MIN(mag + 1) FROM Object",
    "SELECT MIN(a.mag) FROM Object a, Filter b",
    "SELECT MAX(chunkId) > 0 FROM Object",
    "SELECT 1 AS one FROM Filter",
]


@pytest.fixture(scope="module")
def chunks():
    return Chunks(survey(objects=300), leaf_rows=60)


@pytest.fixture(scope="module")
def oracle(chunks):
    return Oracle({chunks.release: chunks.survey.rows})


def with_bounds(chunks, bounds):
    """Return the snapshot with other bounds of Object."""
    release = chunks.snapshot.releases["t"]
    changed = replace(release.tables["object"], bounds=bounds)
    tables = {**release.tables, "object": changed}
    return replace(chunks.snapshot, releases={"t": replace(release, tables=tables)})


@pytest.mark.parametrize("text", KNOWN)
def test_what_is_known_is_answered_without_chunks(text, chunks, oracle):
    made = plan(text, chunks.snapshot)
    assert not any(isinstance(stage, Fragment) for stage in made.stages)
    assert "answered   from the manifests: no chunk is read" in explain(made, {})
    same(chunks.run(made), oracle.answer(text, chunks.snapshot), in_order=False)


@pytest.mark.parametrize("text", READ)
def test_what_is_not_known_is_read(text, chunks):
    made = plan(text, chunks.snapshot)
    assert any(isinstance(stage, Fragment) for stage in made.stages)


def test_the_answer_is_what_the_metadata_say_or_is_read(chunks, oracle):
    """The guarantee: bounds are ours and exact; where there are none, rows are read."""
    text = "SELECT MIN(mag), MAX(mag) FROM Object"
    right = oracle.answer(text, chunks.snapshot)
    poisoned = plan(text, with_bounds(chunks, {"mag": (-99.0, 99.0)}))
    assert chunks.run(poisoned).to_pylist() == [{"min": -99.0, "max": 99.0}]
    unknown = plan(text, with_bounds(chunks, {}))
    assert any(isinstance(stage, Fragment) for stage in unknown.stages)
    same(chunks.run(unknown), right, in_order=False)


@pytest.mark.parametrize(
    ("name", "ends", "answer"),
    [
        ("objectId", (-(2**63), 2**53 + 1), [-(2**63), 2**53 + 1]),
        ("class", (-32768, 32767), [-32768, 32767]),
        ("mag", (0.10000000149011612, 3.4028234663852886e38), None),
        ("flux", (-1e-300, 1.7976931348623157e308), None),
        ("flux", None, [None, None]),
    ],
)
def test_values_are_exact_in_their_types(name, ends, answer, chunks):
    text = f"SELECT MIN({name}) AS low, MAX({name}) AS high FROM Object"
    found = chunks.run(plan(text, with_bounds(chunks, {name: ends})))
    assert [c[0].as_py() for c in found.columns] == (answer or list(ends))
    stored = plan(f"SELECT {name} FROM Object", chunks.snapshot).columns[0].datatype
    assert [str(c.type) for c in found.columns] == [str(_arrow(stored))] * 2


def _arrow(datatype):
    kinds = {"BIGINT": pa.int64(), "SMALLINT": pa.int16(), "REAL": pa.float32()}
    return kinds.get(datatype, pa.float64())
