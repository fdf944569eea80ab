"""What is accepted is what was written: seeded attacks, and DuckDB as a second reader.

Accepted texts are mutated: words of all of sqlglot's languages are put in, doubled,
dropped and exchanged. What `adql.parse` still accepts is written again with brackets
round everything, and DuckDB must read the same from both, or not read the text at all,
as where a name is a word that it reserves.
"""

import random
import re
from collections import Counter

import pytest
from golden import runner
from sqlglot.tokens import Tokenizer
from support.brackets import Reader, written

from qserv.dialects import adql
from qserv.errors import QservError

WORD = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*\n?|[A-Za-z_]\w*"""
    r"""|[0-9.]+(?:[eE][+-]?\d+)?|<>|!=|<=|>=|\|\||\S"""
)
# Names for us; DuckDB reads ``a ISNULL`` and ``QUALIFY a`` as more than that, and has
# two nodes for NOT (a IS TRUE).
OTHERS = {"ISNULL", "NOTNULL", "QUALIFY", "TRUE", "FALSE"}
OURS = """
    a t u 1 .5 'x' '' "q" x.y f(1) ( ) , . * = + - -1 ; AS ASC DESC NOT DISTINCT ALL BY
    NULLS FIRST LAST MATERIALIZED ORDINALITY ONLY EXCLUDE GROUPS UNBOUNDED PRECEDING
    FOLLOWING CURRENT ROW ROWS NAME PERCENT TIES IGNORE RESPECT WITHIN GROUP TOTALS CUBE
    ROLLUP SYMMETRIC ASYMMETRIC VERSION AT OF SKIP KEEP WITH SEARCH DEPTH CYCLE OUTER
    APPLY BOTH
"""
THEIRS = {k for k in Tokenizer.KEYWORDS if not re.search(r"[{}%]|/\*", k)} - OTHERS
WORDS = [*sorted(THEIRS), *OURS.split()]


def accepted():
    """Return the texts that the golden files accept."""
    found = []

    def collect(case):
        if case.command == "tree":
            found.append(case.text)
        elif case.command == "same":
            lines = case.text.splitlines()
            found.extend(f"SELECT x FROM t WHERE {line}" for line in lines)
        return case.expected

    for path in runner.files("adql"):
        runner.check(path, collect)
    return found


def mutated(draw, text, texts):
    words = WORD.findall(text)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at, to = draw.randrange(len(words) + 1), draw.randrange(len(words) + 1)
        some = words[at : at + draw.choice((1, 1, 2, 3, 5))]
        other = WORD.findall(draw.choice(texts))
        from_other = draw.randrange(len(other))
        match draw.randrange(6):
            case 0:
                del words[at : at + len(some)]
            case 1 | 2:
                words.insert(at, draw.choice(WORDS))
            case 3:
                words[to:to] = some
            case 4:
                words[at : at + 1], words[to : to + 1] = words[to : to + 1], some[:1]
            case 5:
                words[at:at] = other[from_other : from_other + draw.randrange(1, 12)]
    return " ".join(words)


@pytest.fixture
def reader(monkeypatch):
    # Geometry is written as it is called, for a parser that knows no more.
    monkeypatch.setattr(adql, "canonical", lambda tree: tree)
    return Reader()


def test_another_parser_reads_the_same_in_golden_texts(reader):
    for text in accepted():
        if (read := reader.read(text)) is not None:
            assert reader.read(written(adql.parse(text))) == read, text


@pytest.mark.parametrize("seed", range(4))
def test_what_is_accepted_says_what_was_written(seed, reader):
    draw, texts, found = random.Random(seed), accepted(), Counter()
    for _ in range(2_000):
        text = mutated(draw, draw.choice(texts), texts)
        try:
            tree = adql.parse(text)
        except QservError:
            found["refused"] += 1
            continue
        read = reader.read(text)
        found["unknown" if read is None else "read"] += 1
        if read is not None:
            assert reader.read(written(tree)) == read, text
    assert found["refused"] > 1_000
    assert found["read"] > 100


def test_the_second_reader_sees_what_the_guard_sees(reader, monkeypatch):
    """Without the guard, words are dropped, and the comparison finds it."""
    monkeypatch.setattr(adql.grammar, "check", lambda *_: None)
    text = "SELECT DISTINCT ON (a) b FROM t"
    assert reader.read(written(adql.parse(text))) != reader.read(text)


@pytest.mark.parametrize("node", ["zz", "zz + 1", "f(zz)", "zz LIKE 'x'"])
def test_a_comment_is_nothing_but_a_comment(node):
    """``sqlglot.meta`` in a comment makes sqlglot write into its nodes."""
    said = "-- sqlglot.meta line=x,col=y,start=1,end=2,top,join,nulls_last\n"
    tree = adql.parse(
        f"SELECT {node} {said}, a {said} FROM {said} t {said}, u {said} ORDER BY"
        f" {said} b {said} LIMIT 5 {said}"
    )
    assert all(str(n.meta.get("line", 1)).isdigit() for n in tree.walk())
    assert not any(n.meta.keys() & {"top", "join"} for n in tree.walk())
    assert not any(n.comments for n in tree.walk())
