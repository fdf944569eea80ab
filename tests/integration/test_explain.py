"""EXPLAIN goes through every door, and EXPLAIN ANALYZE says what happened."""

import re

import pytest

from qserv.errors import ParseError

JOIN = "SELECT COUNT(*) AS n FROM Object o JOIN Source s ON s.objectId = o.objectId"
STAGES = (
    "SELECT objectId FROM Object o WHERE o.mag < (SELECT AVG(mag) FROM Object) "
    "ORDER BY objectId"
)


def test_explain_is_a_query_and_a_call(cluster):
    told = cluster.explain(JOIN)
    rows = cluster.query(f"EXPLAIN {JOIN}").to_arrow()
    assert rows.schema.names == ["plan"]
    assert "\n".join(rows["plan"].to_pylist()) == told
    assert cluster.explain(f"EXPLAIN {JOIN}") == told
    assert "gave" not in told


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("EXPLAIN\nSELECT ra,, dec FROM Object", "line 2, column 11"),
        ("explain analyze SELECT ra,, dec FROM Object", "line 1, column 27"),
    ],
)
def test_an_error_names_the_place_in_what_was_sent(cluster, text, place):
    with pytest.raises(ParseError, match=place):
        cluster.query(text)


def test_analyze_counts_what_came(cluster, sky):
    ((rows,),) = sky.answer("SELECT COUNT(*) FROM sky.Object WHERE mag IS NOT NULL")
    answer = cluster.query(STAGES).to_arrow().num_rows
    told = cluster.explain(STAGES, analyze=True)
    gave = re.findall(r"^gave +([\d,]+) rows?,", told, re.MULTILINE)
    took = re.findall(r"^took +\d+\.\d{3} s", told, re.MULTILINE)
    stages = re.findall(r"^stage \d", told, re.MULTILINE)
    assert len(gave) == len(took) == len(stages)
    assert 0 < answer < rows
    assert gave[-1].replace(",", "") == str(answer)
    assert re.search(r"48 of 48 chunks in 3 tasks, [\d,]+ bytes of files read", told)
    assert re.search(r"[1-9]\d* brought$", told, re.MULTILINE), "one row, by broadcast"
    lines = cluster.query(f"EXPLAIN ANALYZE {STAGES}").to_arrow()["plan"].to_pylist()
    assert [line[:11] for line in lines] == [line[:11] for line in told.split("\n")]
