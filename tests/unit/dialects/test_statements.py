"""EXPLAIN and EXPLAIN ANALYZE are told apart from the query, places stay true."""

import pytest

from qserv.dialects import adql
from qserv.dialects.statements import Mode, explained
from qserv.errors import ParseError


@pytest.mark.parametrize(
    ("text", "mode", "query"),
    [
        ("SELECT a FROM t", Mode.RUN, "SELECT a FROM t"),
        ("EXPLAIN SELECT a FROM t", Mode.EXPLAIN, "        SELECT a FROM t"),
        ("explain\tanalyze SELECT a", Mode.ANALYZE, "       \t        SELECT a"),
        (" EXPLAIN(SELECT a)", Mode.EXPLAIN, "        (SELECT a)"),
        ("EXPLAIN EXPLAIN SELECT a", Mode.EXPLAIN, "        EXPLAIN SELECT a"),
        ("EXPLAINED", Mode.RUN, "EXPLAINED"),
        ("EXPLAIN analyzed", Mode.EXPLAIN, "        analyzed"),
        ("'EXPLAIN'", Mode.RUN, "'EXPLAIN'"),
        ("ANALYZE SELECT a", Mode.RUN, "ANALYZE SELECT a"),
        ("", Mode.RUN, ""),
    ],
)
def test_the_words_are_taken_off(text, mode, query):
    assert explained(text) == (mode, query)


def test_comments_and_lines_stay():
    text = "-- why?\n\nExplain -- all\n Analyze\n  SELECT a,, b FROM t"
    mode, query = explained(text)
    assert mode is Mode.ANALYZE
    assert len(query) == len(text)
    with pytest.raises(ParseError, match="line 5, column 12: "):
        adql.parse(query)


def test_an_endless_beginning_is_read_once():
    assert explained("--\n \n" * 100_000)[0] is Mode.RUN
