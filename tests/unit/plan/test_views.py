"""A view is planned as if its text stood there, which sees nothing around it."""

from dataclasses import replace

import pytest
from support.chunks import Chunks
from support.survey import survey

from qserv.catalog.views import View
from qserv.errors import UnknownName
from qserv.plan.planner import plan

VIEWS = {
    "Bright": "SELECT objectId, ra, dec, mag AS m FROM Object WHERE mag < 18",
    "Lit": """WITH Object AS (
        SELECT objectId, COUNT(*) AS n FROM Source GROUP BY objectId
    ) SELECT b.*, o.n FROM Bright b JOIN Object o ON b.objectId = o.objectId""",
}
CONE = "CONTAINS(POINT(ra, dec), CIRCLE(10, 10, 30)) = 1"
# Written out, the name would mean the query of WITH.
WRITTEN = VIEWS["Bright"].replace("Object", "t.Object")
LIT = VIEWS["Lit"].replace("Bright b", f"({WRITTEN}) b")
SAME = {
    f"SELECT * FROM t.Bright WHERE {CONE}": (
        f"SELECT * FROM ({WRITTEN}) AS Bright WHERE {CONE}"
    ),
    "SELECT TOP 3 objectId, n FROM Lit WHERE n > 2 ORDER BY n, objectId": (
        f"SELECT TOP 3 objectId, n FROM ({LIT}) x WHERE n > 2 ORDER BY n, objectId"
    ),
}


@pytest.fixture(scope="module")
def chunks() -> Chunks:
    return Chunks(survey(), leaf_rows=60)


@pytest.fixture(scope="module")
def snapshot(chunks):
    views = {name.lower(): View(name, text) for name, text in VIEWS.items()}
    home = replace(chunks.snapshot.release("t"), views=views)
    return replace(chunks.snapshot, releases={"t": home})


@pytest.mark.parametrize("text", SAME)
def test_a_view_is_planned_as_its_text(chunks, snapshot, text):
    viewed, written = plan(text, snapshot), plan(SAME[text], chunks.snapshot)
    assert (viewed.stages, viewed.columns) == (written.stages, written.columns)
    assert chunks.run(viewed).num_rows > 0


def test_a_view_sees_nothing_of_the_query_that_reads_it(chunks, snapshot):
    bright = chunks.run(plan("SELECT COUNT(*) FROM Bright", snapshot)).to_pydict()
    hidden = "WITH Object AS (SELECT visit FROM Source) SELECT COUNT(*) FROM t.Bright"
    assert chunks.run(plan(hidden, snapshot)).to_pydict() == bright
    outer = "SELECT (SELECT COUNT(*) FROM Inner_) FROM Visit v"
    views = {
        "inner_": View("Inner_", "SELECT objectId FROM Object WHERE class = v.visit")
    }
    home = replace(snapshot.release("t"), views=views)
    with pytest.raises(
        UnknownName, match=r"in view t\.Inner_: line 1, column 45: .* v"
    ):
        plan(outer, replace(snapshot, releases={"t": home}))
