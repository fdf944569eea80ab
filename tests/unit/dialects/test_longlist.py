"""Long IN lists are cut out of the text and come back as one node of the tree."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from qserv.dialects import adql, longlist
from qserv.dialects.nodes import LongList
from qserv.errors import InvalidValue, LimitExceeded, ParseError, QservError

MANY = longlist.FEW + 1
BLANKS = st.text(" \t\r\n", max_size=2)
NUMBERS = st.integers(-(2**63), 2**63 - 1)


def values(text):
    (found,) = adql.parse(text).find_all(LongList)
    assert isinstance(found.parent, exp.In)
    assert found.parent.expressions == [found]
    return found.values


def listed(items, glue=","):
    return f"SELECT a FROM t WHERE a IN ({glue.join(map(str, items))})"


@given(st.lists(NUMBERS, min_size=5, max_size=9), BLANKS, BLANKS)
def test_whole_numbers_come_back(few, before, after):
    numbers = (few * MANY)[:MANY]
    assert values(listed(numbers, f"{before},{after}")) == tuple(numbers)


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=5), BLANKS)
def test_texts_come_back(few, blank):
    texts = (few * MANY)[:MANY]
    quoted = ["'" + text.replace("'", "''") + "'" for text in texts]
    assert values(listed(quoted, f",{blank}")) == tuple(texts)


def test_a_decimal_number_makes_all_of_them_decimal():
    numbers = ["+1", "-2.5", ".5", "3.", "1e3", "2E-1"] * MANY
    assert values(listed(numbers)) == (1.0, -2.5, 0.5, 3.0, 1000.0, 0.2) * MANY


def test_a_hundred_thousand_ids_fit():
    ids = range(10**17, 10**17 + 100_000)
    assert values(listed(ids, ",\n")) == tuple(ids)


def test_each_list_of_a_text_has_its_own_items():
    texts = ",".join(["'x'"] * MANY)
    text = listed(range(MANY)) + f" AND b NOT IN ({texts}) OR c IN (1)"
    found = adql.parse(text).find_all(exp.In)
    lists = {each.this.name: each.expressions for each in found}
    assert lists["a"][0].values == tuple(range(MANY))
    assert lists["b"][0].values == ("x",) * MANY
    assert lists["c"] == [exp.Literal.number(1)]


def test_lists_in_a_subquery_and_copies_of_them():
    text = f"SELECT a FROM ({listed(range(MANY))} ORDER BY a) q WHERE 1 = 1"
    tree = adql.parse(text).copy()
    assert next(tree.find_all(LongList)).values == tuple(range(MANY))


@pytest.mark.parametrize(
    "items",
    [
        range(longlist.FEW),
        ["NULL", *range(MANY)],
        [*range(MANY), "b"],
        [*range(MANY), "'x'"],
        [*range(MANY), "1 + 1"],
        [*range(MANY), "- 1"],
    ],
    ids=["few", "null", "name", "text", "sum", "sign"],
)
def test_other_lists_are_left_to_the_parser(items):
    tree = adql.parse(listed(items))
    assert tree.find(LongList) is None
    assert len(tree.find(exp.In).expressions) == len(items)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '{}' FROM t",
        'SELECT "{}" FROM t',
        "SELECT a -- {}\n FROM t",
        "SELECT ain({}) FROM t",
    ],
    ids=["text", "name", "comment", "call"],
)
def test_only_lists_of_in_are_cut(text):
    items = ",".join(map(str, range(MANY)))
    whole = text.format(items if "ain" in text else f" IN ({items})")
    assert longlist.cut(whole) == (whole, ())


@pytest.mark.parametrize("glue", [",", ", ", ",\n", ",\r\n  ", "\n,"])
@pytest.mark.parametrize("item", ["17", "'it''s\nx'"])
@pytest.mark.parametrize("rest", [" x", "\nAND b IN ()", " AND b = 1,", "\n\n AND c c"])
def test_places_behind_a_list_are_true(glue, item, rest):
    """The same error at the same place as behind a list that is not cut."""
    long, short = (listed([item] * n, glue) for n in (MANY, 2))
    lines = long.count("\n") - short.count("\n")
    columns = 0 if "\n" in glue + item else len(long) - len(short)
    with pytest.raises(ParseError) as of_long:
        adql.parse(long + rest)
    with pytest.raises(ParseError) as of_short:
        adql.parse(short + rest)
    line, column = place(of_short.value)
    moved = 0 if line > long.count("\n") - lines + 1 else columns
    assert place(of_long.value) == (line + lines, column + moved)


def place(error):
    line, column = str(error).partition(":")[0].split(",")
    return int(line.removeprefix("line ")), int(column.removeprefix(" column "))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (2**63, "larger than any BIGINT: write 9223372036854775808.0"),
        (-(2**63) - 1, "larger than any BIGINT"),
        ("1" * 5000, "larger than any DOUBLE"),
        ("1e400", "larger than any DOUBLE"),
    ],
)
def test_numbers_too_large_are_refused(item, said):
    with pytest.raises(InvalidValue, match=said):
        adql.parse(listed([*range(MANY), item]))


def test_what_is_no_list_of_literals_is_too_long():
    with pytest.raises(LimitExceeded, match="262144 are allowed besides lists"):
        adql.parse(listed(["NULL", *range(100_000)]))
    with pytest.raises(LimitExceeded, match="4194304 are allowed"):
        adql.parse(listed(range(10**6)))


@given(st.text("IN(1,)'\"-\n 2.e", max_size=60))
def test_a_cut_is_made_of_literals_alone(text):
    filler = ",".join("1" * MANY)
    whole = f"SELECT a FROM t WHERE {text} IN ({filler},{text}) {text}"
    rest, cuts = longlist.cut(whole)
    for each in cuts:
        cut_out = whole[each.start : each.end]
        assert len(adql.Adql().tokenize(cut_out)) >= 2 * len(each.items) - 1
    assert len(rest) == len(whole) - sum(c.end - c.start - 1 for c in cuts)
    with suppress(QservError):
        adql.parse(whole)
