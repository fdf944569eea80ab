"""A plan's cost is a guess, and the guess tells a product from a join."""

import pytest
from support.chunks import Chunks
from support.survey import survey

from qserv.plan.cost import cost
from qserv.plan.planner import plan

NEAR = "DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.001"
PARENT = "s.objectId = a.objectId"
CONE = "CONTAINS(POINT(ra, dec), CIRCLE(150, 2, 1)) = 1"
PARENT_CONE = "CONTAINS(POINT(o.ra, o.dec), CIRCLE(150, 2, 1)) = 1"


@pytest.fixture(scope="module")
def chunks():
    return Chunks(survey(), leaf_rows=60)


@pytest.fixture
def spent(chunks):
    def spent(text, **power):
        made = plan(text, chunks.snapshot)
        return cost(made, chunks.routes(made), **power)

    return spent


@pytest.mark.parametrize(
    ("text", "product"),
    [
        ("SELECT COUNT(*) FROM Object a, Object b", True),
        ("SELECT COUNT(*) FROM Object a, Object b WHERE a.mag < b.mag", True),
        ("SELECT a.mag FROM Object a LEFT JOIN Object b ON a.mag < b.mag", True),
        ("SELECT TOP 9 a.mag FROM Object a, Object b ORDER BY b.mag", True),
        ("SELECT TOP 9 a.mag FROM Object a, Object b WHERE a.mag * b.mag < 0", True),
        ("SELECT x.mag FROM (SELECT a.mag FROM Object a, Object b) x", True),
        (f"SELECT a.mag FROM Object a, Object b, Source s WHERE {PARENT}", True),
        ("SELECT TOP 9 a.mag FROM Object a, Object b", False),
        (f"SELECT COUNT(*) FROM Object a, Object b WHERE {NEAR}", False),
        ("SELECT COUNT(*) FROM Object a, Object b WHERE a.mag = b.mag", False),
        ("SELECT COUNT(*) FROM Object JOIN Source USING (objectId)", False),
        ("SELECT o.mag FROM Object o LEFT JOIN Source s USING (objectId)", False),
        ("SELECT COUNT(*) FROM Object WHERE mag < 20", False),
        ("SELECT COUNT(*) FROM Object", False),
    ],
)
def test_a_product_is_told_from_a_join(spent, text, product):
    objects = 1500
    assert (spent(text).rows > 0.1 * objects**2) == product


def test_an_area_spares_bytes_and_time(spent):
    whole = spent("SELECT COUNT(mag) FROM Object")
    part = spent(f"SELECT COUNT(mag) FROM Object WHERE {CONE}")
    assert 0 < part.bytes_read < whole.bytes_read / 4
    assert part.seconds < whole.seconds


def test_what_filters_objects_filters_their_sources(spent):
    join = f"FROM Object o JOIN Source s ON s.objectId = o.objectId WHERE {PARENT_CONE}"
    whole = spent("SELECT s.flux FROM Source s").result_rows
    assert spent(f"SELECT s.flux {join}").result_rows < whole / 50
    grouped = spent(f"SELECT s.visit, COUNT(*) {join} GROUP BY s.visit")
    assert grouped.bytes_moved < whole


def test_an_outer_join_keeps_what_is_on_its_left(spent):
    join = "FROM Object o LEFT JOIN Source s ON s.objectId = o.objectId AND s.visit = 1"
    assert spent(f"SELECT o.mag {join}").result_rows >= 1500


def test_columns_that_are_not_read_cost_nothing(spent):
    one = spent("SELECT AVG(ra) FROM Object").bytes_read
    assert one == 1500 * 8
    assert spent("SELECT AVG(ra + dec) FROM Object").bytes_read == 2 * one


def test_more_cores_take_less_time_and_no_fewer_bytes(spent):
    text = "SELECT COUNT(*) FROM Object a, Source b WHERE a.mag < b.flux"
    alone, many = spent(text), spent(text, workers=4, cores=16)
    assert many.seconds < alone.seconds
    assert many.bytes_read == alone.bytes_read
    assert many.bytes_moved > alone.bytes_moved, "a broadcast goes to every worker"


def test_the_result_is_that_of_the_last_stage(spent):
    found = spent("SELECT TOP 10 objectId, ra FROM Object ORDER BY mag")
    assert (found.result_rows, found.result_bytes) == (10, 160)
