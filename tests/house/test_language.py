"""The page of the language lists what is accepted, and what it shows is accepted."""

import re
from pathlib import Path

import pytest
from support.chunks import Chunks
from support.survey import survey

from qserv.dialects import geometry, lexis
from qserv.errors import UnsupportedQuery
from qserv.plan import functions, typing, windows
from qserv.plan.planner import plan

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "sql.md").read_text()
LATER = PAGE.partition("## Not answered yet")[2].partition("##")[0]
REGIONS = ("POINT", "CIRCLE", "POLYGON", "BOX", "MOC", "CONTAINS", "DISTANCE")
PIXELS = geometry.HEALPIX_INDEX.lower()


@pytest.fixture(scope="module")
def snapshot():
    return Chunks(survey(objects=600), leaf_rows=1000).snapshot


@pytest.mark.parametrize("name", [*functions.names(), *REGIONS, PIXELS])
def test_every_function_has_a_row(name):
    assert re.search(rf"^\| .*`{name}\([^|]*\|.{{4,}}\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(geometry.NOT_YET | functions.NOT_YET.keys()))
def test_what_is_refused_for_now_is_said(name):
    assert f"`{name}`" in LATER


def test_every_reserved_word_is_listed():
    listed = PAGE.partition("names only in quotes:")[2].partition("##")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == lexis.RESERVED


@pytest.mark.parametrize("datatype", sorted(set(typing.TARGETS.values())))
def test_every_type_of_cast_is_listed(datatype):
    assert re.search(rf"`CAST\(.*\b{datatype}\b", PAGE)


@pytest.mark.parametrize("text", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_what_the_page_shows_can_be_planned(text, snapshot):
    assert plan(text, snapshot).columns


@pytest.mark.parametrize("name", sorted(windows.WINDOWS))
def test_every_window_function_is_listed(name):
    part = PAGE.partition("## Windows")[2].partition("##")[0]
    assert f"`{name}(" in part


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("WITH RECURSIVE o AS (SELECT ra FROM Object) SELECT ra FROM o", "RECURSIVE"),
        ("SELECT ra FROM Object WHERE mag > ALL (SELECT flux FROM Source)", "`ALL`"),
        ("SELECT ra FROM Object WHERE mag = ANY (SELECT flux FROM Source)", "`ANY`"),
        (
            "SELECT ra FROM Object WHERE (ra, dec) IN (SELECT ra, dec FROM Source)",
            "rows",
        ),
        ("SELECT o.ra FROM Object o, LATERAL (SELECT 1 FROM Source) s", "`LATERAL`"),
        ("SELECT CAST(name AS VARCHAR(3)) FROM Object", "`CAST` to a length"),
        ("SELECT mag % 2 FROM Object", "the sign `%`"),
        ("SELECT ra FROM Object WHERE ra = NULL", "`NULL`"),
        ("SELECT ra FROM Object TABLESAMPLE (10)", "`TABLESAMPLE`"),
        ("SELECT ra FROM Object FETCH FIRST 3 ROWS WITH TIES", "`WITH TIES`"),
        ("SELECT SUM(ra) OVER (ORDER BY dec GROUPS 1 PRECEDING) FROM Object", "GROUPS"),
        (
            (
                "SELECT ra FROM Object "
                "WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(ra, 1, 2, 3, 4, 5))"
            ),
            "polygons and boxes of columns",
        ),
        (
            (
                "SELECT ra FROM Object "
                "WHERE 1 = CONTAINS(POINT('GALACTIC', ra, dec), CIRCLE(1, 2, 3))"
            ),
            "another system than ICRS",
        ),
    ],
)
def test_what_is_not_answered_yet_is_said_and_refused(text, said, snapshot):
    assert said in LATER
    with pytest.raises(UnsupportedQuery):
        plan(text, snapshot)
