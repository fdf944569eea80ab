"""HEALPix pixels, MOCs and homes: answered as the oracle does, from few chunks."""

import numpy as np
import pytest
from support.chunks import Chunks, without_pruning
from support.oracle import Oracle, same
from support.survey import survey

from qserv.errors import QservError
from qserv.plan.planner import plan
from qserv.plan.query import Relation
from qserv.sky import healpix

MANY = " ".join(map(str, range(1, 12 * 4**8, 31)))


class World:
    def __init__(self):
        made = survey()
        self.chunks = Chunks(made, leaf_rows=60)
        rows = {name: self._with_homes(name, made) for name in made.tables}
        self.oracle = Oracle({"t": rows})

    def _with_homes(self, name, made):
        """Put the homes beside the rows that the oracle holds."""
        table, rows = made.tables[name], made.rows[name]
        if not table.partitioned:
            return rows
        index = self.chunks._indexes["t", table.director or table.name]
        homes = index.locate(rows[table.key].combine_chunks())
        chunks = self.chunks.tree.locate(homes)
        rows = rows.append_column("_healpix_29", [homes])
        return rows.append_column("_chunk", [chunks])

    def run(self, text, batch=10**6):
        return self.chunks.run(plan(text, self.chunks.snapshot), batch)

    def expected(self, text):
        return self.oracle.answer(text, self.chunks.snapshot)

    def is_right(self, text):
        try:
            for batch in (1, 10**6):
                same(self.run(text, batch), self.expected(text), in_order=False)
        except AssertionError:
            return False
        return True


@pytest.fixture(scope="module")
def world():
    return World()


WHERE = {
    # condition: table, chunks at most (of 48)
    "ivo_healpix_index(0, ra, dec) = 4": ("Object", 4),
    "4 = ivo_healpix_index(0, POINT(ra, dec))": ("Object", 4),
    "ivo_healpix_index(1, ra, dec) < 4": ("Object", 4),
    "NOT ivo_healpix_index(1, ra, dec) >= 4": ("Object", 4),
    "ivo_healpix_index(1, ra, dec) IN (0, 17, 47)": ("Object", 3),
    "ivo_healpix_index(1, ra, dec) NOT IN (0, 17, 47)": ("Object", 45),
    "ivo_healpix_index(1, ra, dec) <> 9": ("Object", 47),
    "ivo_healpix_index(1, ra, dec) NOT BETWEEN 3 AND 46": ("Object", 5),
    "ivo_healpix_index(1, ra, dec) = 3 OR ivo_healpix_index(2, ra, dec) = 17": (
        "Object",
        2,
    ),
    "ivo_healpix_index(6, ra, dec) BETWEEN 100.5 AND 2000": ("Object", 3),
    "ivo_healpix_index(0, ra, dec) = 4 AND dec > 25 AND ra > 180": ("Object", 1),
    "ivo_healpix_index(29, ra, dec) < 1e17": ("Object", 2),
    "ivo_healpix_index(3, ra, dec) / 16 = 5": ("Object", 1),
    "ivo_healpix_index(1, ra, dec) = 4": ("Source", 9),
    "1 = CONTAINS(POINT(ra, dec), MOC('1/4 2/3-4'))": ("Source", 14),
    "1 = CONTAINS(POINT(ra, dec), MOC('1/4 2/3-4 29/'))": ("Object", 3),
    "0 = CONTAINS(POINT(ra, dec), MOC('0/1-11'))": ("Object", 4),
    "NOT 1 = CONTAINS(POINT(ra, dec), MOC('0/1-11'))": ("Object", 4),
    '1 = CONTAINS(POINT(ra, dec), MOC(\'{"0": [3], "1": [40]}\'))': ("Object", 5),
    f"1 = CONTAINS(POINT(ra, dec), MOC('8/{MANY}')) AND dec > 89": ("Object", 4),
    f"1 = CONTAINS(POINT(ra, dec), MOC('8/{MANY} 4/0-3071'))": ("Source", 48),
    f"0 = CONTAINS(POINT(ra, dec), MOC('8/{MANY} 3/20-767'))": ("Source", 9),
    "1 = CONTAINS(POINT(ra, dec), MOC(''))": ("Object", 0),
    "0 = CONTAINS(POINT(ra, dec), MOC(''))": ("Object", 48),
    "_healpix_29 BETWEEN 0 AND 144115188075855871": ("Object", 2),
    "_healpix_29 < 144115188075855872 OR _healpix_29 > 3400000000000000000": (
        "Source",
        4,
    ),
    "NOT _healpix_29 >= 144115188075855872": ("ForcedSource", 2),
    "_healpix_29 / 72057594037927936 IN (4, 8)": ("ForcedSource", 2),
    "_healpix_29 = 5 OR dec > 89.99": ("Object", 5),
    "chunkId = 17": ("ForcedSource", 1),
    "chunkId IN (16, 40, 63) AND dec < 99": ("Source", 3),
    "chunkId BETWEEN 16 AND 20 OR ivo_healpix_index(1, ra, dec) = 8": ("Object", 6),
    "NOT chunkId <> 30": ("Object", 1),
    "chunkId < 20": ("Object", 48),
}


@pytest.mark.parametrize("where", WHERE)
def test_a_condition_is_answered_from_few_chunks(world, where):
    table, most = WHERE[where]
    text = f"SELECT COUNT(*), MIN(objectId) FROM {table} WHERE {where}"
    assert world.is_right(text)
    made = plan(text, world.chunks.snapshot)
    whole = world.chunks.run(without_pruning(made))
    same(whole, world.expected(text), in_order=False)
    assert len(next(iter(world.chunks.routes(made).values())).chunks) <= most


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ivo_healpix_index(3, ra, dec) AS p, COUNT(*) FROM Object GROUP BY p",
        "SELECT ivo_healpix_index(3, ra, dec) AS p, AVG(flux) FROM Source GROUP BY p",
        "SELECT DISTINCT ivo_healpix_index(2, ra, dec) FROM Source",
        "SELECT objectId, ivo_healpix_index(12, 2 * dec, dec) FROM Object",
        "SELECT objectId, ivo_healpix_index(5, ra, 3 * dec) FROM Object",
        (
            "SELECT objectId, CONTAINS(POINT(3 * ra, 2 * dec), MOC('1/3-9 2/5 3/700')) "
            "FROM Object"
        ),
        (
            "SELECT ivo_healpix_index(4, o.ra, o.dec) AS p, COUNT(s.sourceId) "
            "FROM Object o LEFT JOIN Source s ON s.objectId = o.objectId "
            "AND ivo_healpix_index(1, s.ra, s.dec) < 9 GROUP BY p"
        ),
        (
            "SELECT COUNT(*) FROM Object o "
            "LEFT JOIN Source s ON s.objectId = o.objectId "
            "WHERE ivo_healpix_index(0, s.ra, s.dec) IS NULL OR s._healpix_29 < 99"
        ),
        (
            "SELECT a._healpix_29, b._healpix_29, ivo_healpix_index(29, b.ra, b.dec) "
            "FROM Object a, Object b WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01 "
            "AND ivo_healpix_index(1, b.ra, b.dec) IN (3, 40, 41)"
        ),
        (
            "SELECT COUNT(*) FROM Object a, Source s "
            "WHERE DISTANCE(a.ra, a.dec, s.ra, s.dec) < 0.01 "
            "AND (s._healpix_29 < 400000000000000000 OR s.chunkId IN (40, 41))"
        ),
        (
            "SELECT x.p, COUNT(*) FROM "
            "(SELECT TOP 90 ivo_healpix_index(2, ra, dec) AS p "
            "FROM Object ORDER BY objectId) AS x GROUP BY x.p"
        ),
        (
            "SELECT COUNT(*) FROM (SELECT ra, dec FROM Source ORDER BY sourceId "
            f"OFFSET 9) AS x WHERE 1 = CONTAINS(POINT(ra, dec), MOC('8/{MANY}'))"
        ),
        (
            "SELECT o.objectId, s.sourceId FROM Object o LEFT JOIN Source s ON "
            "s.objectId = o.objectId "
            f"AND 1 = CONTAINS(POINT(s.ra, s.dec), MOC('8/{MANY}'))"
        ),
        (
            "SELECT objectId, ROW_NUMBER() OVER (PARTITION BY CONTAINS(POINT(ra, dec), "
            f"MOC('8/{MANY} 2/9 11')) ORDER BY objectId) AS k FROM Object"
        ),
        (
            "SELECT x.p, x.n FROM (SELECT ivo_healpix_index(1, ra, dec) AS p, "
            "COUNT(*) AS n FROM Source GROUP BY ivo_healpix_index(1, ra, dec)) AS x "
            "WHERE x.p BETWEEN 3 AND 9"
        ),
        (
            "SELECT ivo_healpix_index(6, ra, dec), ivo_healpix_index(17, 1, 1) "
            "FROM Source WHERE flux > 150 ORDER BY ivo_healpix_index(6, ra, dec)"
        ),
    ],
)
def test_pixels_stand_wherever_values_do(world, text):
    assert world.is_right(text)


def test_a_home_may_be_named_and_no_star_shows_it(world):
    found = world.run("SELECT ra, dec, _healpix_29 FROM Object").to_pydict()
    homes = healpix.pixels(np.array(found["ra"]), np.array(found["dec"]))
    assert found["_healpix_29"] == homes.tolist()
    assert "_healpix_29" not in world.run("SELECT * FROM Object").column_names


def test_where_rows_lie_off_their_homes_pixels_are_worked_out(world, monkeypatch):
    text = "SELECT sourceId, ivo_healpix_index(20, ra, dec) FROM Source"
    assert world.is_right(text)
    monkeypatch.setattr(Relation, "at_home", True)
    assert not world.is_right(text)


def test_a_moc_of_thousands_of_pixels_makes_no_long_sql(world):
    text = f"SELECT ra FROM Source WHERE 1 = CONTAINS(POINT(ra, dec), MOC('8/{MANY}'))"
    assert max(len(s.sql) for s in plan(text, world.chunks.snapshot).stages) < 3000


def test_where_no_home_is_known_the_way_to_it_is_said(world):
    joined = "Object o FULL JOIN Source s ON s.objectId = o.objectId"
    lost = "(SELECT objectId FROM Object) o"
    named = "(SELECT objectId, _healpix_29 FROM Object) o"
    with pytest.raises(QservError, match="select it in that query"):
        plan(f"SELECT o._healpix_29 FROM {lost}", world.chunks.snapshot)
    for source in ("Object o", named):
        shown = joined.replace("Object o", source)
        assert world.is_right(f"SELECT o._healpix_29, s.flux FROM {shown}")


@pytest.mark.parametrize(
    ("expression", "code", "said"),
    [
        ("ivo_healpix_index(30, ra, dec)", "Q3005", "an order from 0 to 29"),
        ("ivo_healpix_index(-1, ra, dec)", "Q3005", "an order from 0 to 29"),
        ("ivo_healpix_index(2.5, ra, dec)", "Q3005", "a whole number, not 2.5"),
        ("ivo_healpix_index(class, ra, dec)", "Q3004", "an order of columns"),
        ("ivo_healpix_index(3, name, dec)", "Q3003", "a number in degrees"),
        ("ivo_healpix_index(3, ra, 95)", "Q3005", "from -90 to 90 degrees"),
        ("CONTAINS(POINT(ra, dec), MOC('4/3 x'))", "Q3005", "at character 5 of a MOC"),
        ("CONTAINS(POINT(ra, dec), MOC('0/12'))", "Q3005", "line 1, column"),
    ],
)
def test_what_is_wrong_is_said_before_it_runs(world, expression, code, said):
    with pytest.raises(QservError, match=said) as refused:
        plan(f"SELECT {expression} FROM Object", world.chunks.snapshot)
    assert refused.value.code == code
