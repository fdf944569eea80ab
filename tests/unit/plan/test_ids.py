"""A child's declared id finds the home of its row, as a director's key does."""

from dataclasses import replace

import pytest
from support.chunks import Chunks, without_pruning
from support.oracle import Oracle, same
from support.survey import survey

from qserv.plan.planner import plan

FEW = """
SELECT flux FROM Source WHERE sourceId = 105

SELECT flux FROM Source WHERE sourceId IN (105, 2107) OR objectId = 8

SELECT flux FROM Source WHERE sourceId BETWEEN 105 AND 107 AND flux > 1

SELECT o.mag, s.flux FROM Object o JOIN Source s ON s.objectId = o.objectId
WHERE s.sourceId = 105

SELECT COUNT(*) AS n FROM Object o LEFT JOIN Source s ON s.objectId = o.objectId
WHERE s.sourceId = 105

SELECT COUNT(*) AS n FROM Object o WHERE EXISTS
(SELECT 1 FROM Source s WHERE s.objectId = o.objectId AND s.sourceId = 105)

SELECT COUNT(*) AS n FROM Object WHERE objectId IN
(SELECT objectId FROM Source WHERE sourceId = 105)

SELECT flux FROM Source WHERE sourceId IN
(SELECT TOP 2 objectId FROM Object ORDER BY objectId)

SELECT x.sourceId, x.n FROM
(SELECT sourceId, COUNT(*) AS n FROM Source GROUP BY sourceId) AS x
WHERE x.sourceId = 105
"""
ALL = """
SELECT COUNT(*) AS n FROM Source WHERE sourceId <> 105

SELECT COUNT(*) AS n FROM Object o LEFT JOIN Source s
ON s.objectId = o.objectId AND s.sourceId = 105

SELECT COUNT(*) AS n FROM Source WHERE sourceId = 105 OR flux > 150

SELECT COUNT(*) AS n FROM ForcedSource WHERE objectId = visit + 105

SELECT COUNT(*) AS n FROM Object WHERE objectId NOT IN
(SELECT objectId FROM Source WHERE sourceId = 105)
"""


@pytest.fixture(scope="module")
def rows():
    made = survey()
    source = replace(made.tables["Source"], id="sourceId")
    return replace(made, tables={**made.tables, "Source": source})


@pytest.fixture(scope="module")
def chunks(rows):
    return Chunks(rows, leaf_rows=60)


@pytest.fixture(scope="module")
def oracle(rows):
    return Oracle({"t": rows.rows})


def routed(text, chunks, oracle):
    """Return on how many chunks the last fragment ran; the answer is right."""
    made = plan(text, chunks.snapshot)
    expected = oracle.answer(text, chunks.snapshot)
    for batch in (1, 10**6):
        run = chunks.start(made, batch)
        same(run.answer(), expected, in_order=False)
    same(chunks.run(without_pruning(made)), expected, in_order=False)
    return run.routed[max(run.routed)]


@pytest.mark.parametrize("text", FEW.strip().split("\n\n"))
def test_few_ids_are_few_chunks(text, chunks, oracle):
    assert 1 <= routed(text, chunks, oracle) <= 4


@pytest.mark.parametrize("text", ALL.strip().split("\n\n"))
def test_what_names_no_row_reads_all_chunks(text, chunks, oracle):
    assert routed(text, chunks, oracle) == len(chunks.tree)


def test_without_a_declared_id_all_chunks_are_read(oracle):
    made = Chunks(survey(), leaf_rows=60)
    assert routed(FEW.strip().split("\n\n")[0], made, oracle) == len(made.tree)
