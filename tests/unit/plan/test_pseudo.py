"""The pseudo-columns chunkId and subChunkId, against where the rows really are."""

import numpy as np
import pytest
from support.chunks import Chunks
from support.survey import survey

from qserv.plan.planner import plan
from qserv.sky import healpix


@pytest.fixture(scope="module")
def chunks() -> Chunks:
    return Chunks(survey(), leaf_rows=60)


def rows(chunks, text):
    found = chunks.run(plan(text, chunks.snapshot), batch=5)
    return found.to_pydict()


def test_they_tell_the_chunk_and_the_cell_of_a_row(chunks):
    found = rows(chunks, "SELECT objectId, ra, dec, chunkId, subChunkId FROM Object")
    homes = healpix.pixels(np.array(found["ra"]), np.array(found["dec"]))
    assert found["chunkId"] == [chunks.tree.locate(home[None])[0] for home in homes]
    assert found["subChunkId"] == (homes >> 34).tolist()


def test_a_neighbour_has_its_own_chunk_and_not_that_of_its_partner(chunks):
    near = "DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01"
    text = f"SELECT b.objectId, b.chunkId FROM Object a, Object b WHERE {near}"
    found = rows(chunks, text)
    every = rows(chunks, "SELECT objectId, chunkId FROM Object")
    own = dict(zip(every["objectId"], every["chunkId"], strict=True))
    assert found["chunkId"] == [own[i] for i in found["objectId"]]
    assert len(set(found["chunkId"])) > 1


def test_no_star_shows_them(chunks):
    assert "chunkId" not in rows(chunks, "SELECT * FROM Object")


@pytest.mark.parametrize(
    "joined",
    [
        "Visit v FULL JOIN Source s ON s.visit = v.visit AND v.filterId = 1",
        "Filter f RIGHT JOIN (Source s JOIN Object o USING (objectId)) ON 1 = 2",
        "Object o FULL JOIN Source s ON s.objectId = o.objectId",
    ],
)
def test_they_are_those_of_the_row_through_any_join(chunks, joined):
    shown = "s.sourceId, s.chunkId, s.subChunkId"
    found = rows(chunks, f"SELECT {shown} FROM {joined} WHERE s.sourceId IS NOT NULL")
    every = rows(chunks, f"SELECT {shown} FROM Source s")
    assert sorted(zip(*found.values(), strict=True)) == sorted(
        zip(*every.values(), strict=True)
    )
