"""Deep, long and tangled texts end in a typed error or a tree, and they do end.

Each nest is as deep as it is allowed: where sqlglot reads something twice at each
level, 2^32 readings never end.
"""

from contextlib import suppress

import pytest
from sqlglot import exp

from qserv.dialects import adql, limits
from qserv.errors import LimitExceeded, ParseError, QservError

SELECT = "SELECT a FROM t"
NESTS = {
    "brackets": ("SELECT ", "(", "1", ")", " FROM t"),
    "calls": ("SELECT ", "f(", "1", ")", " FROM t"),
    "types": ("SELECT ", "INT(", "1", ")", " FROM t"),
    "sizes": ("SELECT CAST(a AS ", "CHAR(", "1", ")", ") FROM t"),
    "cases": ("SELECT ", "CASE WHEN a = 1 THEN ", "1", " END", " FROM t"),
    "scalars": ("SELECT ", "(SELECT ", "1", " FROM t)", " FROM t"),
    "derived": ("SELECT a FROM ", "(SELECT a FROM ", "t", ") u", ""),
    "commas": ("SELECT a FROM ", "t, (SELECT a FROM ", "t", ") u", ""),
    "selects": (SELECT, " WHERE a IN (SELECT a FROM t", "", ")", ""),
    "exists": (SELECT, " WHERE EXISTS (SELECT a FROM t", "", ")", ""),
    "joins": ("SELECT a FROM ", "(t JOIN ", "u", " ON a = b)", ""),
    "unions": ("", "(SELECT a FROM t UNION ", SELECT, ")", ""),
    "queries": ("", "(", SELECT, ")", ""),
    "bodies": ("", "WITH x AS (", SELECT, ") SELECT a FROM x", ""),
    "limits": ("", "SELECT a FROM t LIMIT (", "1", ")", ""),
    "offsets": ("", "SELECT a FROM t OFFSET (", "1", ")", ""),
    "windows": ("SELECT ", "f(1) OVER (ORDER BY ", "a", ")", " FROM t"),
}
FREE = {
    "not": ("SELECT a FROM t WHERE ", "NOT ", "a = 1"),
    "minus": ("SELECT ", "- ", "a FROM t"),
    "plus": ("SELECT ", "+", "a FROM t"),
    "nested joins": ("SELECT a FROM t", " JOIN u", " ON a = b"),
    "between": ("SELECT a FROM t WHERE ", "a BETWEEN ", "1"),
    "sum": ("SELECT a", " + a", " FROM t"),
    "dots": ("SELECT ", "a.", "a FROM t"),
    "selects": ("", "SELECT a FROM ", "t"),
    "withs": ("", "WITH x AS ", "t"),
}


@pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS)
def test_a_nest_of_the_depth_allowed_is_read(nest):
    head, opened, core, closed, tail = nest
    allowed = limits.MOST_DEEP - head.count("(")
    text = head + opened * allowed + core + closed * allowed + tail
    assert isinstance(adql.parse(text), exp.Query)


@pytest.mark.parametrize("times", [limits.MOST_DEEP + 1, 300, 5_000])
@pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS)
def test_a_deeper_one_is_refused(nest, times):
    head, opened, core, closed, tail = nest
    with pytest.raises(LimitExceeded, match=r"more than 32|operations"):
        adql.parse(head + opened * times + core + closed * times + tail)


@pytest.mark.parametrize("times", [20, 200, 5_000])
@pytest.mark.parametrize("parts", FREE.values(), ids=FREE)
def test_depth_without_brackets_ends_in_a_tree_or_a_typed_error(parts, times):
    head, repeated, tail = parts
    with suppress(QservError):
        adql.parse(head + repeated * times + tail)


def test_joins_without_conditions_are_read_once():
    with pytest.raises(QservError, match="JOIN takes ON or USING"):
        adql.parse("SELECT a FROM t" + " JOIN u" * 60)


def test_set_operations_have_a_limit():
    most = limits.MOST_OPERATIONS
    tree = adql.parse(SELECT + f" UNION {SELECT}" * most)
    assert sum(1 for _ in tree.find_all(exp.Union)) == most
    with pytest.raises(LimitExceeded, match="2000 set operations"):
        adql.parse(SELECT + f" UNION {SELECT}" * 2_000)


@pytest.mark.parametrize("word", ["AND", "OR"])
def test_a_long_chain_is_shallow_and_in_order(word):
    names = [f"a{number}" for number in range(5_000)]
    chain = f" {word} ".join(f"{name} = 1" for name in names)
    where = adql.parse(f"SELECT a FROM t WHERE {chain}").args["where"]
    columns = [c for c in where.dfs() if isinstance(c, exp.Column)]
    assert [c.name for c in columns] == names
    assert max(c.depth for c in columns) < 20


def test_a_mixed_chain_keeps_what_binds():
    ors = " OR ".join(["a = 1 AND b = 2 AND NOT (c = 3 OR d = 4)"] * 100)
    tree = adql.parse(f"SELECT a FROM t WHERE {ors}")
    assert sum(1 for _ in tree.find_all(exp.Or)) == 99 + 100
    assert all(not isinstance(a.parent, exp.Not) for a in tree.find_all(exp.And))


def test_no_text_makes_the_parser_guess(caplog):
    with pytest.raises(QservError):
        adql.parse("WITH x AS (SHOW TABLES a) SELECT a FROM x")
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"SELECT {'a,' * 30_000} a FROM t", "60004 words and signs, 50000 are"),
        (f"SELECT {'a' * 1_001} FROM t", "a name or number of 1001 characters, 1000"),
        (f'SELECT "{"é" * 1_001}" FROM t', "a name or number of 1001 characters, 1000"),
        (f"SELECT {'1' * 5_000} FROM t", "line 1, column 8: a name or number of 5000"),
    ],
    ids=["words", "name", "name in quotes", "number"],
)
def test_words_have_limits(text, said):
    with pytest.raises(LimitExceeded, match=said):
        adql.parse(text)


@pytest.mark.parametrize("text", ["'" + "x" * 200_000 + "'", "1", "a" * 1_000])
def test_long_texts_are_no_words(text):
    assert adql.parse(f"SELECT {text} FROM t").expressions[0].name == text.strip("'")


@pytest.mark.parametrize(
    "junk", ["{# " + "x" * 9_999 + " #}", "FROM t 'x" + "x" * 9_999 + "'"]
)
def test_errors_are_short(junk):
    with pytest.raises(ParseError) as refused:
        adql.parse(f"SELECT a {junk}")
    assert len(str(refused.value)) < 200
