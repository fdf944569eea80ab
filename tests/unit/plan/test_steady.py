"""Which keys of buckets may change when rows are made again."""

import pytest
from golden.test_plan import SMALL
from support.chunks import Chunks
from support.survey import survey

from qserv.plan.plan import Fragment
from qserv.plan.planner import plan


@pytest.fixture(scope="module")
def snapshot():
    return Chunks(survey(), leaf_rows=60).snapshot


def steady(text, snapshot):
    """Tell of each spooled stage whether its keys are steady."""
    stages = plan(text, snapshot, sizes=SMALL, default_release="t").stages
    return [s.spool.steady for s in stages if isinstance(s, Fragment) and s.spool]


def joined(inner):
    return f"SELECT COUNT(*) FROM ({inner}) AS x JOIN Source AS s ON x.k = s.flux"


OF_OBJECTS = "FROM Source WHERE flux > 0 GROUP BY objectId"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What is stored, and what is exact, is the same again.
        (joined("SELECT mag AS k FROM Object"), [True, True]),
        (joined(f"SELECT MAX(flux) AS k {OF_OBJECTS}"), [True, True]),
        (joined(f"SELECT COUNT(*) AS k {OF_OBJECTS}"), [True, True]),
        (joined(f"SELECT MEDIAN(flux) AS k {OF_OBJECTS}"), [True, True]),
        (joined(f"SELECT CORR(flux, mjd) AS k {OF_OBJECTS}"), [True, False]),
        (joined(f"SELECT SUM(visit) AS k {OF_OBJECTS}"), [True, True]),
        # Sums of floats are not, whatever is made of them.
        (joined(f"SELECT SUM(flux) AS k {OF_OBJECTS}"), [True, False]),
        (joined(f"SELECT FLOOR(AVG(flux)) + 1 AS k {OF_OBJECTS}"), [True, False]),
        (
            joined(f"SELECT y.m AS k FROM (SELECT AVG(flux) AS m {OF_OBJECTS}) AS y"),
            [True, False],
        ),
        # A value that no key is made of may differ.
        (joined(f"SELECT MAX(flux) AS k, AVG(flux) AS m {OF_OBJECTS}"), [True, True]),
        (
            joined(f"SELECT MAX(flux) AS k {OF_OBJECTS} HAVING AVG(flux) > 3"),
            [True, True],
        ),
        # Which of equal rows comes first may, too.
        (
            joined(
                "SELECT y.flux AS k FROM (SELECT flux, ROW_NUMBER() OVER "
                "(PARTITION BY objectId ORDER BY visit) AS n FROM Source) AS y "
                "WHERE y.n = 1"
            ),
            [True, False],
        ),
    ],
)
def test_keys_are_steady_if_they_come_out_the_same_again(text, expected, snapshot):
    assert steady(text, snapshot) == expected
