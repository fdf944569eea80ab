"""What functions, operators, types and NULL mean, against rows written by hand.

The expected values come from the standards, textbooks and arithmetic that the comments
name; the oracle could not prove them, since it shares its meaning with the product. So
nothing here is rewritten.

``values`` lists expressions, each with the value that it has in the row with objectId 1
(``3`` is a whole number, ``3.0`` a DOUBLE); ``query`` has its rows below it; ``error``
has the kind of DuckDB's error, which becomes an `InvalidValue` on the wire.
"""

import math
import re
from itertools import zip_longest

import duckdb
import pytest
from golden import runner
from support.chunks import Chunks
from support.tiny import tiny

from qserv.errors import LimitExceeded, QservError
from qserv.plan import functions
from qserv.plan.planner import plan

CLOSE = 4e-15


@pytest.fixture(scope="module")
def chunks() -> Chunks:
    return Chunks(tiny(), leaf_rows=1)


@pytest.mark.parametrize("path", runner.files("meaning"), ids=lambda p: p.stem)
def test_what_a_query_means(path, chunks, rewrite):
    if rewrite:
        pytest.fail("these rows are written by hand: --rewrite is refused")

    def answer(case):
        within = float(case.arguments.get("within", 0))
        match case.command:
            case "values":
                return values(case.expected, chunks, within)
            case "query":
                batches = answers(case.text, chunks, "ORDER BY" in case.text)
                one, all_ = (told(rows, case.expected, within) for rows in batches)
                assert one == all_, "batches of one chunk and of all differ"
                return one
            case "error":
                return failure(case.text, chunks)
        raise AssertionError(case.command)

    runner.check(path, answer)


def test_without_its_guard_what_is_no_number_would_pass(chunks, monkeypatch):
    """The guarantee: no infinity and no NaN comes of arithmetic."""
    text = "SELECT x * 10 - x * 10 > 4 FROM Object WHERE objectId = 6"
    assert answers(text, chunks, in_order=True) == [[(None,)]] * 2
    monkeypatch.setattr(functions, "finite", lambda node: node)
    assert answers(text, chunks, in_order=True) == [[(True,)]] * 2


@pytest.mark.parametrize("terms", [100, 470, 499, 600, 5000])
def test_a_long_query_is_planned_or_refused(chunks, terms):
    text = f"SELECT ra FROM Object WHERE {' OR '.join(['whole = 1'] * terms)}"
    try:
        assert chunks.run(plan(text, chunks.snapshot)).num_rows == 1
    except LimitExceeded:
        assert terms > 400


def values(expected, chunks, within):
    """Evaluate the expressions of all lines in one query, and write the lines anew."""
    lines = [re.fullmatch(r"(\S.*?\S?) {2,}(\S.*)", ln) for ln in expected.splitlines()]
    assert all(lines), expected
    listed = ", ".join(line[1] for line in lines)
    text = f"SELECT {listed} FROM Object WHERE objectId = 1"
    (row,), _ = answers(text, chunks, in_order=True)
    pairs = zip(lines, row, strict=True)
    return "\n".join(ln[0][: ln.start(2)] + cell(v, ln[2], within) for ln, v in pairs)


def answers(text, chunks, in_order):
    """Run a query in batches of one chunk, and of all."""
    made = plan(text, chunks.snapshot)
    tables = (chunks.run(made, batch) for batch in (1, 10**6))
    return [rows_of(t) if in_order else sorted(rows_of(t), key=repr) for t in tables]


def rows_of(table):
    return list(zip(*(c.to_pylist() for c in table.columns), strict=True))


def told(rows, expected, within):
    lines = [line.split("  ") for line in expected.splitlines()]
    wanted = [*lines, *([[]] * len(rows))]
    return "\n".join(
        "  ".join(
            cell(value, word, within)
            for value, word in zip_longest(row, words[: len(row)], fillvalue="")
        )
        for row, words in zip(rows, wanted, strict=False)
    )


def cell(value, wanted, within=0.0):
    """Write a value; one that is the wanted number but for its last bits, as wanted."""
    if isinstance(value, float) and re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", wanted):
        is_double = "." in wanted or "e" in wanted
        near = math.isclose(value, float(wanted), rel_tol=CLOSE, abs_tol=within)
        if is_double and near:
            return wanted
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case str():
            return f"'{value}'"
    return str(value)


def failure(text, chunks):
    try:
        answers(text, chunks, in_order=False)
    except QservError as error:
        return f"{type(error).__name__}: {error}"
    except duckdb.Error as error:
        return str(error).partition(" Error:")[0]
    raise AssertionError(f"no error: {text}")
