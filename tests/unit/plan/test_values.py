"""A subquery stands for one value; which of them gives several is said in our words."""

import duckdb
import pytest
from support.chunks import Chunks
from support.tiny import tiny

from qserv.plan.planner import plan

SEVERAL = (
    "this subquery stands for a value and gives more than one row: "
    "take MAX or TOP 1 of them, or ask IN"
)


@pytest.mark.parametrize(
    ("inner", "place"),
    [
        ("(SELECT flux FROM Source)", 16),
        ("(SELECT s.flux FROM Source s WHERE s.objectId = o.objectId)", 18),
        ("(SELECT MIN(band) FROM Band), (SELECT flux FROM Source)", 46),
    ],
)
def test_several_rows_are_an_error_that_names_the_subquery(inner, place):
    chunks = Chunks(tiny(), 1)
    text = f"SELECT {inner} FROM Object o"

    with pytest.raises(duckdb.InvalidInputException) as raised:
        chunks.run(plan(text, chunks.snapshot), 10**6)

    assert str(raised.value).endswith(f"line 1, column {place}: {SEVERAL}")


@pytest.mark.parametrize(
    "inner",
    ["SELECT MAX(flux) FROM Source", "SELECT TOP 1 flux FROM Source ORDER BY flux"],
)
def test_what_gives_one_row_at_most_is_not_counted(inner):
    chunks = Chunks(tiny(), 1)

    made = plan(f"SELECT ({inner}) AS x FROM Object", chunks.snapshot)

    assert not any("error(" in stage.sql for stage in made.stages)
