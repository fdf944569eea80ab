"""Bringing a query to fewer shapes keeps its meaning, and its promises.

Queries at random from a small grammar of joins, subqueries, set operations and WITH are
written twice over whole tables, as bound and as simplified, and run in one DuckDB.
"""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chunks import Chunks
from support.oracle import Oracle, Whole
from support.tiny import tiny

from qserv.dialects import adql
from qserv.plan import rejecting
from qserv.plan.bind import bind
from qserv.plan.depth import references
from qserv.plan.query import JoinKind, Select, selects
from qserv.plan.simplify import simplify

TABLES = {"Object": ["objectId", "whole", "small"], "Source": ["objectId", "sourceId"]}
SHAPES = ["table", "filtered", "grouped", "having", "ranked", "one", "first"]
SHAPES += ["union", "joined"]
KINDS = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]


@pytest.fixture(scope="module")
def world():
    made = tiny()
    return Chunks(made, 1).snapshot, Oracle({"t": made.rows}).connection


def bound(text, snapshot):
    return bind(adql.parse(text), text, snapshot, None).body


def simplified(body):
    used = [r.number for s in selects(body) for r in s.relations]
    numbers = count(1 + max([*used, *(ref.relation for ref in references(body))]))
    return simplify(body, numbers)


def rows(body, connection):
    writer = Whole(vectors=False)
    sql = writer.body(body)
    return Counter(connection.execute(sql, list(writer.parameters)).fetchall())


@st.composite
def tables(draw, depth):
    """Draw what may stand in FROM, with the names of two whole columns."""
    name = draw(st.sampled_from(sorted(TABLES)))
    first, *rest = TABLES[name]
    second = draw(st.sampled_from(rest))
    kind = draw(st.sampled_from(SHAPES))
    where = draw(predicates(first, second))
    plain = f"SELECT {first} AS p, {second} AS q FROM {name}"
    match kind if depth else "table":
        case "table":
            return f"(SELECT {first} AS p, {second} AS q FROM {name})"
        case "filtered":
            return f"({plain} WHERE {where})"
        case "grouped":
            return f"(SELECT {first} AS p, MAX({second}) AS q FROM {name} GROUP BY p)"
        case "having":
            plain = plain.replace("SELECT", "SELECT DISTINCT")
            return f"({plain} GROUP BY {first}, {second} HAVING {where})"
        case "ranked":
            over = "MAX(flux) OVER (PARTITION BY {})"
            p, q = over.format(f"{first}, {second}"), over.format(first)
            shown = f"{first} AS p, {second} AS q, {p} AS m, {q} AS n"
            return f"(SELECT {shown} FROM Source)" if name == "Source" else f"({plain})"
        case "one":
            return (
                f"(SELECT COUNT(*) AS p, MIN({first}) AS q FROM {name} WHERE {where})"
            )
        case "first":
            return (
                f"(SELECT TOP 2 {first} AS p, {second} AS q FROM {name} ORDER BY p, q)"
            )
        case "union":
            every = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]))
            return f"({plain} {every} {plain} WHERE {where})"
        case _:
            inner = draw(joins(depth - 1))
            chosen = draw(predicates("a.p", "b.q"))
            return f"(SELECT a.p AS p, b.q AS q FROM {inner} WHERE {chosen})"


@st.composite
def predicates(draw, first, second):
    value = draw(st.integers(0, 4))
    return draw(
        st.sampled_from(
            [
                f"{first} = {second}",
                f"{first} < {value}",
                f"{second} IS NULL",
                f"{second} IS NOT NULL",
                f"{first} = {value} OR {second} > {value}",
                f"NOT {first} BETWEEN {value} AND 5",
                f"COALESCE({second}, {value}) = {value}",
                f"{first} IN (SELECT small FROM Object WHERE small > {value})",
                f"NOT {second} IN (SELECT small FROM Object)",
                f"EXISTS (SELECT 1 FROM Source s WHERE s.objectId = {first})",
                f"{first} > (SELECT MIN(small) FROM Object WHERE whole = {second})",
                "1 = 1",
            ]
        )
    )


@st.composite
def joins(draw, depth):
    """Draw a join of two relations, a and b."""
    left, right = draw(tables(depth)), draw(tables(depth))
    kind = draw(st.sampled_from(KINDS))
    on = draw(predicates("a.p", "b.p")) if draw(st.booleans()) else "a.p = b.p"
    return f"{left} AS a {kind} {right} AS b ON {on}"


@st.composite
def queries(draw):
    """Draw a query; its rows are few, so all of them are compared."""
    source = draw(joins(2))
    where = draw(predicates("a.q", "b.p"))
    other = draw(predicates("b.q", "a.p"))
    third = draw(
        st.sampled_from(["", "LEFT JOIN c ON c.p = a.p", "JOIN c ON c.q = b.p"])
    )
    with_ = f"WITH c AS {draw(tables(1))} " if third else ""
    shown = draw(
        st.sampled_from(
            ["a.p, a.q, b.p, b.q", "COUNT(*), SUM(a.p), MAX(b.q)", "a.q, b.q"]
        )
    )
    distinct = draw(st.sampled_from(["", "DISTINCT "]))
    chosen = draw(st.sampled_from(["", f"WHERE {where}", f"WHERE {where} AND {other}"]))
    return f"{with_}SELECT {distinct}{shown} FROM {source} {third} {chosen}"


@settings(max_examples=150)
@given(text=queries())
def test_it_keeps_the_meaning(world, text):
    snapshot, connection = world
    body = bound(text, snapshot)
    found = simplified(body)
    assert [c.name for c in found.columns] == [c.name for c in body.columns]
    assert rows(found, connection) == rows(body, connection), text


@settings(max_examples=60)
@given(text=queries())
def test_it_keeps_relations_apart_and_leaves_no_full_join_by_place(world, text):
    snapshot, _ = world
    found = simplified(bound(text, snapshot))
    numbers = Counter(r.number for s in selects(found) for r in s.relations)
    shared = {n for n, times in numbers.items() if times > 1}
    whole = [s for s in selects(found) if s.relations[-1].join is JoinKind.FULL]
    assert not whole
    # Only what WITH names and is read twice is one and the same query in two places.
    assert not shared or "WITH" in text or "FULL" in text


KEPT = "SELECT o.objectId, s.sourceId FROM Object o {} JOIN Source s ON {} WHERE {}"


@pytest.mark.parametrize(
    ("kind", "on", "where", "joined"),
    [
        ("LEFT", "s.objectId = o.objectId", "s.flux > 1", JoinKind.INNER),
        ("LEFT", "s.objectId = o.objectId", "s.flux IS NOT NULL", JoinKind.INNER),
        ("LEFT", "s.objectId = o.objectId", "s.flux BETWEEN 1 AND 2", JoinKind.INNER),
        ("LEFT", "s.objectId = o.objectId", "s.flux + 1 > o.x", JoinKind.INNER),
        ("LEFT", "s.objectId = o.objectId", "s.flux > 1 OR s.flux = 0", JoinKind.INNER),
        ("LEFT", "s.objectId = o.objectId", "s.flux IN (1, 2)", JoinKind.INNER),
        ("LEFT", "s.objectId = o.objectId", "s.flux NOT IN (1, 2)", JoinKind.LEFT),
        ("LEFT", "s.objectId = o.objectId", "NOT s.flux > 1", JoinKind.LEFT),
        ("LEFT", "s.objectId = o.objectId", "s.flux IS NULL", JoinKind.LEFT),
        ("LEFT", "s.objectId = o.objectId", "s.flux > 1 OR o.x > 1", JoinKind.LEFT),
        ("LEFT", "s.objectId = o.objectId", "COALESCE(s.flux, 2) > 1", JoinKind.LEFT),
        ("LEFT", "s.objectId = o.objectId", "o.x > 1", JoinKind.LEFT),
    ],
)
def test_an_outer_join_is_inner_where_null_rows_are_dropped(
    world, kind, on, where, joined
):
    """``NOT s.flux > 1`` drops them too; that is not seen, and does no harm."""
    snapshot, _ = world
    found = simplified(bound(KEPT.format(kind, on, where), snapshot))
    assert isinstance(found, Select)
    assert found.relations[1].join is joined


def test_without_that_question_null_rows_would_be_lost(world, monkeypatch):
    snapshot, connection = world
    text = KEPT.format("LEFT", "s.objectId = o.objectId", "s.flux IS NULL")
    body = bound(text, snapshot)
    assert rows(simplified(body), connection) == rows(body, connection)
    monkeypatch.setattr(rejecting, "rejects", lambda *_: True)
    assert rows(simplified(body), connection) != rows(body, connection)
