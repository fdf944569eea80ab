"""Views on real processes: read as tables, kept by snapshots and restarts."""

from dataclasses import replace

import pytest
from support.processes import until

import qserv
from qserv.errors import Conflict, InvalidRequest, ParseError, UnknownName

VIEWS = {
    "sky.Bright": "SELECT objectId, ra, dec, mag AS m FROM Object WHERE mag < 18",
    "sky.Lit": (
        "WITH Object AS (SELECT objectId, COUNT(*) AS n, AVG(flux) AS f FROM Source "
        "GROUP BY objectId) SELECT b.*, o.n, o.f FROM sky.Bright b "
        "JOIN Object o ON b.objectId = o.objectId"
    ),
}
QUERIES = (
    "SELECT COUNT(*), SUM(objectId), MIN(m) FROM sky.Bright",
    """SELECT b.objectId, s.sourceId FROM sky.Bright b
    JOIN sky.Source s ON b.objectId = s.objectId WHERE b.m < 17 AND b.dec > 0""",
    "SELECT objectId, n FROM sky.Lit WHERE n > 3",
    """WITH Source AS (SELECT objectId FROM sky.Bright) SELECT COUNT(*) FROM Source s
    LEFT JOIN sky.Lit l ON s.objectId = l.objectId WHERE l.n IS NULL""",
)


@pytest.fixture(scope="module")
def expected(sky):
    """Return what plain DuckDB answers from the same views."""
    plain = sky.plain.cursor()
    plain.execute("USE sky")
    for name, text in VIEWS.items():
        plain.execute(f"CREATE VIEW {name} AS {text}")
    found = [sorted(plain.execute(query).fetchall()) for query in QUERIES]
    for name in reversed(VIEWS):
        plain.execute(f"DROP VIEW {name}")
    assert all(found)
    return found


def answers(db, **how):
    tables = [db.query(query, **how).to_arrow() for query in QUERIES]
    return [sorted(zip(*t.to_pydict().values(), strict=True)) for t in tables]


def restart_czar(db):
    before = db.cluster.processes["czar"]
    db.cluster.kill("czar")
    until(lambda: db.cluster.processes.get("czar", before) != before)
    db.cluster.wait_whole()


def refuses(db, sky):
    """Say what cannot be: the views stay as they are."""
    snapshot = db.status().snapshot
    with pytest.raises(ParseError, match="line 1, column 13"):
        db.create_view("sky.V", "SELECT FROM Object")
    with pytest.raises(UnknownName, match=r"line 2, column 6: .* no table None"):
        db.create_view("sky.V", "SELECT ra\nFROM None")
    with pytest.raises(InvalidRequest, match=r"sky\.V would read itself"):
        db.create_view("sky.V", "SELECT v.ra FROM V v")
    with pytest.raises(InvalidRequest, match=r"sky\.Bright would read itself"):
        db.create_view("sky.Bright", "SELECT objectId, m FROM Lit", replace=True)
    with pytest.raises(
        Conflict, match=r"sky\.Lit reads sky\.Bright .* in view sky\.Lit"
    ):
        db.create_view("sky.Bright", "SELECT ra FROM Object", replace=True)
    with pytest.raises(Conflict, match=r"sky\.Lit reads sky\.Bright: drop or replace"):
        db.drop_view("sky.Bright")
    named = replace(sky.survey.tables["Filter"], name="LIT")
    with pytest.raises(Conflict, match=r"sky\.LIT is a view"):
        db.load("sky", {"LIT": sky.files["Filter"]}, schema=(named,))
    assert db.status().snapshot == snapshot


def test_views_are_read_as_tables_in_each_snapshot_that_has_them(
    sky, expected, tmp_path
):
    with qserv.LocalCluster(2, tmp_path) as db:
        sky.load(db)
        loaded = db.status().snapshot
        made = [db.create_view(name, text) for name, text in VIEWS.items()]
        assert answers(db) == expected

        restart_czar(db)
        assert answers(db) == expected
        assert db.views("SKY") == tuple(made)
        bright, lit = made
        assert (bright.text, bright.since) == (VIEWS["sky.Bright"], loaded + 1)
        assert [c.name for c in lit.columns] == ["objectId", "ra", "dec", "m", "n", "f"]
        assert (bright.columns[3].unit, bright.trouble) == ("mag", "")
        refuses(db, sky)

        db.drop_view("SKY.LIT")
        assert db.drop_view("sky.Bright") == db.status().snapshot == loaded + 4
        with pytest.raises(UnknownName, match="no table Bright"):
            db.query(QUERIES[0]).to_arrow()
        assert answers(db, snapshot=loaded + 2) == expected
        assert db.views(snapshot=loaded + 2) == tuple(made)
        assert db.views() == ()
