"""Moments of values that are large beside their spread, merged from many chunks.

The values are whole numbers of 2^-20 about 60000, as MJDs are, so that what is expected
is worked out exactly, in fractions.
"""

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chunks import Chunks
from support.survey import Survey

from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.plan import aggregates
from qserv.plan.planner import plan

ROWS = 300
OFFSET, STEP = 60000, Fraction(1, 2**20)
_COLUMNS = {
    "objectId": DataType.BIGINT,
    "ra": DataType.DOUBLE,
    "dec": DataType.DOUBLE,
    "same": DataType.DOUBLE,
    "y": DataType.DOUBLE,
    "x": DataType.DOUBLE,
}
QUERY = (
    "SELECT REGR_COUNT(y, x), REGR_AVGX(y, x), REGR_AVGY(y, x), REGR_SXX(y, x), "
    "REGR_SYY(y, x), REGR_SXY(y, x), COVAR_POP(y, x), COVAR_SAMP(y, x), CORR(y, x), "
    "REGR_SLOPE(y, x), REGR_R2(y, x), REGR_INTERCEPT(y, x), VAR_POP(y) FROM Object"
)
CONSTANT = (
    "SELECT CORR(y, same), CORR(same, y), REGR_SLOPE(y, same), "
    "REGR_INTERCEPT(y, same), REGR_R2(y, same), REGR_R2(same, y), "
    "COVAR_POP(y, same), STDDEV(same) FROM Object"
)


def chunks_of(ys: list[int | None], xs: list[int | None]) -> Chunks:
    """Spread pairs over the sky, about a dozen in a chunk."""
    rng = np.random.default_rng(len(ys))
    n = len(ys)
    columns = tuple(Column(name, kind) for name, kind in _COLUMNS.items())
    table = Table(
        "Object", TableKind.DIRECTOR, columns, key="objectId", position=("ra", "dec")
    )
    values = {
        "objectId": np.arange(n),
        "ra": rng.uniform(0, 360, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
        "same": np.full(n, 0.1),
        "y": pa.array(list(map(_value, ys)), pa.float64()),
        "x": pa.array(list(map(_value, xs)), pa.float64()),
    }
    return Chunks(Survey({"Object": pa.table(values)}, {"Object": table}), leaf_rows=12)


def _value(number: int | None) -> float | None:
    return None if number is None else float(OFFSET + number * STEP)


def answers(chunks: Chunks, text: str) -> list[tuple]:
    """Answer in batches of one chunk, and of all."""
    made = plan(text, chunks.snapshot)
    tables = (chunks.run(made, batch) for batch in (1, 10**6))
    return [tuple(c[0].as_py() for c in t.columns) for t in tables]


def expected(ys: list[int | None], xs: list[int | None]) -> list[float]:
    """Work the answer of `QUERY` out."""
    pairs = [(y, x) for y, x in zip(ys, xs, strict=True) if None not in {y, x}]
    n = len(pairs)
    my, mx = (Fraction(sum(p[i] for p in pairs), n) for i in (0, 1))
    syy, sxx, sxy = (
        STEP**2 * sum((p[i] - m) * (p[j] - k) for p in pairs)
        for i, m, j, k in ((0, my, 0, my), (1, mx, 1, mx), (0, my, 1, mx))
    )
    my, mx = (OFFSET + STEP * m for m in (my, mx))
    slope, r2 = sxy / sxx, sxy**2 / (sxx * syy)
    correlation = math.copysign(math.sqrt(r2), sxy)
    known = [y for y in ys if y is not None]
    mean = Fraction(sum(known), len(known))
    variance = STEP**2 * sum((y - mean) ** 2 for y in known) / len(known)
    exact = (n, mx, my, sxx, syy, sxy, sxy / n, sxy / (n - 1), correlation, slope, r2)
    return [float(e) for e in (*exact, my - slope * mx, variance)]


def agree(found: tuple, wanted: list[float]) -> bool:
    return all(
        math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found, wanted, strict=True)
    )


def middle(numbers: list[int | None]) -> float | None:
    known = sorted(n for n in numbers if n is not None)
    if not known:
        return None
    low, high = known[(len(known) - 1) // 2], known[len(known) // 2]
    return float(OFFSET + STEP * (low + high) / 2)


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(5)
    xs = rng.integers(0, 1000, ROWS)
    ys = xs // 3 + rng.integers(0, 300, ROWS)
    missing = rng.random((2, ROWS)) < 0.1
    return [
        [None if lost else int(v) for v, lost in zip(values, gone, strict=True)]
        for values, gone in zip((ys, xs), missing, strict=True)
    ]


def test_moments_of_large_values_are_merged_to_what_they_are(pairs):
    chunks, wanted = chunks_of(*pairs), expected(*pairs)
    assert len(chunks.tree) > 20
    assert all(agree(found, wanted) for found in answers(chunks, QUERY))


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("M2", "(sum({0} * {0}) - count({0}) * avg({0}) * avg({0}))"),
        ("MXY", "(sum({0} * {1}) - regr_count({0}, {1}) * avg({0}) * avg({1}))"),
        ("MEAN", "round(avg({0}), 3)"),
    ],
)
def test_other_partials_would_not_do(name, sql, pairs, monkeypatch):
    monkeypatch.setitem(aggregates.SQL, name, sql)
    one, _ = answers(chunks_of(*pairs), QUERY)
    assert not agree(one, expected(*pairs))


def test_what_is_always_the_same_is_known_to_be(pairs, monkeypatch):
    chunks = chunks_of(*pairs)
    nothing = (None, None, None, None, None, 1.0, 0.0, 0.0)
    assert answers(chunks, CONSTANT) == [nothing] * 2
    monkeypatch.setitem(aggregates.SQL, "MEAN", "avg({0})")
    assert answers(chunks, CONSTANT)[0] != nothing


_NUMBERS = st.none() | st.integers(-5, 5)


@settings(max_examples=20, deadline=None)
@given(st.lists(_NUMBERS, min_size=1, max_size=30))
def test_a_median_is_the_middle_of_the_sorted_values(numbers):
    found = answers(chunks_of(numbers, numbers), "SELECT MEDIAN(y) FROM Object")
    assert found == [(middle(numbers),)] * 2
