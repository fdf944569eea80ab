"""What keeps an answer right, switched off: then it must be wrong.

Each case names a mechanism, and a query whose answer depends on it. The query is
answered rightly first, in batches of one chunk and of all; so a case that fails after
the mechanism is gone fails because of that.
"""

import re
from dataclasses import replace

import pytest
from support.pairs import paired
from support.survey import survey
from support.tiny import tiny
from support.worlds import World

from qserv.plan import (
    apart,
    cut,
    finish,
    nested,
    prepare,
    prepared,
    push,
    relations,
    restrict,
    seek,
    simplify,
    unnest,
)
from qserv.plan.limits import Sizes
from qserv.plan.plan import Extent, Fragment
from qserv.plan.planner import plan

SMALL = Sizes(broadcast=1, merge=1, bucket=20_000)


def fragments(change):
    """Return what changes every fragment of a plan."""

    def changed(made):
        stages = (change(s) if isinstance(s, Fragment) else s for s in made.stages)
        return replace(made, stages=tuple(stages))

    return changed


def sources(change):
    """Return what changes every scan source of a plan."""
    return fragments(lambda f: replace(f, sources=tuple(map(change, f.sources))))


@pytest.fixture(scope="module")
def world():
    return World(survey(), 60)


@pytest.fixture(scope="module")
def pairs():
    return World(paired(), 20)


@pytest.fixture(scope="module")
def nullable():
    """Every column of these rows may be NULL, the keys of children too."""
    return World(tiny(), 1)


NEAR = (
    "SELECT COUNT(*) FROM Object a, Object b "
    "WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < {} AND a.class = 1"
)
PAIRS = (
    "SELECT {} FROM Object o JOIN Match m ON m.objectId = o.objectId "
    "JOIN RefObject r ON r.refId = m.refId"
)
WITHIN, BEYOND = NEAR.format(0.01), NEAR.format(0.1)


def _without_host(sent):
    host = re.compile(r'(?: AND )?\w+\."_chunk" = \w+\."_chunk"')
    return replace(sent, sql=host.sub("", sent.sql))


def _without_overlap(source):
    near = source.extent is Extent.OWN_AND_OVERLAP
    return replace(source, extent=Extent.OWN) if near else source


def _not_beyond(source):
    return replace(source, reach=0.0)


def _halo_of_what_is_beside(source):
    halo = source.extent is Extent.HALO
    return replace(source, extent=Extent.OWN_AND_OVERLAP) if halo else source


CHANGED = {
    "a copy of the overlap belongs to one chunk": (WITHIN, fragments(_without_host)),
    "the overlap is read": (WITHIN, sources(_without_overlap)),
    "a halo reaches as far as a partner": (BEYOND, sources(_not_beyond)),
    "a halo has each row once, the overlap for each chunk": (
        BEYOND,
        sources(_halo_of_what_is_beside),
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_plan_without_it_is_wrong(world, name):
    text, change = CHANGED[name]
    assert world.is_right(text)
    assert not world.is_right(text, change=change)


def _anywhere(body, sky):
    return [r for r in body.relations if r.number in sky.families]


def _of_any_key(keys):
    return lambda values: any(v in keys for v in values)


def _both_sides(body, left, right):
    names = zip(body.columns, left.body.columns, right.body.columns, strict=True)
    found = {
        c.name: left.held.get(a.name) or right.held.get(b.name) for c, a, b in names
    }
    return {name: held for name, held in found.items() if held is not None}


def _all_held(body, keys):
    """Take the keys of neighbours and null-extended sides for those of own rows."""
    del body
    return dict(keys)


PATCHED = {
    "a copy is never preserved": (
        prepare,
        "anchors",
        _anywhere,
        (
            "SELECT v.visit, s.sourceId FROM Visit v LEFT JOIN Source s "
            "ON s.visit = v.visit AND s.flux > 190"
        ),
    ),
    "a FULL JOIN by place is taken apart": (
        simplify,
        "shares_key",
        lambda *_: True,
        (
            "SELECT COUNT(*), COUNT(a.objectId), COUNT(b.objectId) FROM Object a "
            "FULL JOIN Object b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01 "
            "AND a.class = 1 AND b.class = 2"
        ),
    ),
    "a group of a null-extended key is merged": (
        finish,
        "held",
        _all_held,
        (
            "SELECT s.objectId, COUNT(*) FROM Object o LEFT JOIN Source s "
            "ON s.objectId = o.objectId GROUP BY s.objectId"
        ),
    ),
    "a group of a neighbour's key is merged": (
        finish,
        "held",
        _all_held,
        (
            "SELECT b.objectId, COUNT(*) FROM Object a JOIN Object b "
            "ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01 "
            "JOIN Source s ON s.objectId = a.objectId "
            "WHERE b.mag < 18 AND s.flux > 100 GROUP BY b.objectId"
        ),
    ),
    "NOT IN asks for all rows where NULLs may be about": (
        nested,
        "is_semijoin",
        lambda node, local, *_: isinstance(local, prepared.Local),
        (
            "SELECT COUNT(*) FROM Source s LEFT JOIN Object o "
            "ON o.objectId = s.objectId AND o.class = 1 WHERE o.objectId NOT IN "
            "(SELECT objectId FROM ForcedSource WHERE flux > 230)"
        ),
    ),
    "IN is local by the same director's key alone": (
        nested,
        "is_semijoin",
        lambda node, local, *_: isinstance(local, prepared.Local),
        "SELECT COUNT(*) FROM Object WHERE objectId IN (SELECT sourceId FROM Source)",
    ),
    "UNION tells equal rows apart in one chunk only if both sides hold the key": (
        prepare,
        "held_by_both",
        _both_sides,
        (
            "SELECT COUNT(*) FROM (SELECT objectId FROM Object "
            "UNION SELECT sourceId FROM Source) AS x"
        ),
    ),
    "a query of one group limits nothing around it": (
        restrict,
        "_read",
        restrict.restrict,
        (
            "SELECT COUNT(*) FROM Object o WHERE 0 IN (SELECT COUNT(*) FROM Source s "
            "WHERE s.objectId = o.objectId AND s.objectId = 8)"
        ),
    ),
    "nothing is asked below TOP": (
        push,
        "_may_ask",
        lambda *_: True,
        (
            "SELECT x.mag FROM (SELECT TOP 5 objectId, mag, class FROM Object "
            "ORDER BY objectId) AS x WHERE x.class = 2"
        ),
    ),
    "what speaks of no key of the windows is asked after them": (
        push,
        "_is_of",
        lambda *_: True,
        (
            "SELECT x.k, COUNT(*) FROM (SELECT objectId, ROW_NUMBER() OVER "
            "(PARTITION BY visit ORDER BY sourceId) AS k FROM Source) AS x "
            "WHERE x.objectId < 500 GROUP BY x.k"
        ),
    ),
    "only where each side of an OR limits is it limited": (
        restrict,
        "_either",
        lambda parts: next(filter(None, parts), ()),
        "SELECT COUNT(*) FROM Object WHERE objectId = 8 OR mag < 18",
    ),
    "an area is dilated for the other side of a join": (
        restrict,
        "dilate",
        lambda cover, *_: cover,
        (
            "SELECT a.objectId, b.objectId FROM Object a, Object b "
            "WHERE DISTANCE(a.ra, a.dec, b.ra, b.dec) < 3 "
            "AND CONTAINS(POINT(b.ra, b.dec), CIRCLE(0, 0, 0.002)) = 1"
        ),
    ),
}


@pytest.mark.parametrize("name", PATCHED)
def test_a_planner_without_it_is_wrong(world, name, monkeypatch):
    room, mechanism, without, text = PATCHED[name]
    assert world.is_right(text)
    monkeypatch.setattr(room, mechanism, without)
    assert not world.is_right(text)


def test_equal_keys_of_two_types_hash_alike(world, monkeypatch):
    text = (
        "SELECT COUNT(*) FROM Object a JOIN Source s "
        "ON CAST(a.class AS DOUBLE PRECISION) = s.sourceId"
    )

    assert world.is_right(text, SMALL)
    monkeypatch.setattr(cut, "keyed", lambda mine, other: mine)
    assert not world.is_right(text, SMALL)


def test_a_group_of_a_key_that_may_be_null_is_merged(nullable, monkeypatch):
    text = "SELECT objectId, COUNT(*) FROM Source GROUP BY objectId"
    made = plan(text, nullable.chunks.snapshot)
    assert len(made.stages) == 2
    monkeypatch.setattr(finish, "in_chunks", _of_any_key)
    assert len(plan(text, nullable.chunks.snapshot).stages) == 1


def test_an_equality_drops_the_nulls_of_a_key(nullable):
    text = (
        "SELECT s.objectId, COUNT(*) FROM Object o JOIN Source s "
        "ON s.objectId = o.objectId GROUP BY s.objectId"
    )
    assert len(plan(text, nullable.chunks.snapshot).stages) == 1
    assert nullable.is_right(text)


def test_the_first_rows_of_batches_are_merged(world):
    def unmerged(made):
        *first, last = made.stages
        unordered = re.sub(r"\nORDER BY [^\n]*(?=\nLIMIT)", "", last.sql)
        return replace(made, stages=(*first, replace(last, sql=unordered)))

    text = "SELECT TOP 5 objectId, mag FROM Object ORDER BY mag DESC, objectId"
    assert world.is_right(text)
    assert not world.is_right(text, change=unmerged)


def test_the_second_of_a_pair_may_lie_beside_the_chunk(pairs, monkeypatch):
    text = PAIRS.format("COUNT(*), MAX(r.dec)")
    assert pairs.is_right(text)
    monkeypatch.setattr(relations, "_paired", lambda anchor: 0.0)
    assert not pairs.is_right(text)


def test_a_copy_of_a_pair_belongs_to_one_chunk(pairs):
    text = "SELECT COUNT(m.score) FROM RefObject r JOIN Match m ON m.refId = r.refId"
    assert pairs.is_right(text)
    assert not pairs.is_right(text, change=fragments(_without_host))


@pytest.mark.parametrize(
    ("of", "text"),
    [
        ("pairs", "SELECT objectId, refId FROM Match WHERE refId IN ({})"),
        ("world", NEAR.format(8).replace("a.class = 1", "b.objectId IN ({})")),
    ],
)
def test_a_key_may_have_its_home_around_the_chunk(of, text, request, monkeypatch):
    world = request.getfixturevalue(of)
    table, key = ("RefObject", "refId") if of == "pairs" else ("Object", "objectId")
    ids = world.chunks.survey.rows[table][key].to_pylist()[:20]
    text = text.format(", ".join(map(str, ids)))
    assert world.is_right(text)
    original = seek._Key

    def near(column, index, reach):
        return original(column, index, 0.0)

    monkeypatch.setattr(seek, "_Key", near)
    assert not world.is_right(text)


def test_only_what_is_equated_is_grouped_before_it_is_asked(world, monkeypatch):
    text = (
        "SELECT o.objectId, (SELECT COUNT(*) FROM Source s WHERE s.visit < o.class) "
        "FROM Object o WHERE o.mag < 17"
    )
    assert world.is_right(text)
    original = unnest._pair

    def any_comparison(term, own):
        return original(replace(term, function="="), own)

    def equated(term, merged):
        return original_asked(replace(term, function="="), merged)

    original_asked = unnest._asked
    monkeypatch.setattr(unnest, "_pair", any_comparison)
    monkeypatch.setattr(unnest, "_asked", equated)
    assert not world.is_right(text)


def test_a_bucket_finishes_what_shares_its_keys_alone(world, monkeypatch):
    text = (
        "SELECT s.objectId, COUNT(*) FROM Source s JOIN ForcedSource f "
        "ON s.visit = f.visit WHERE s.flux > 100 AND f.flux > 50 GROUP BY s.objectId"
    )
    assert world.is_right(text, SMALL)
    monkeypatch.setattr(finish, "in_buckets", lambda body, hashed: lambda values: True)
    assert not world.is_right(text, SMALL)


def test_a_copy_without_partner_is_kept_once(world, monkeypatch):
    text = (
        "SELECT v.visit, COUNT(*) FROM Visit v LEFT JOIN Source s "
        "ON s.visit = v.visit AND s.flux > 195 GROUP BY v.visit"
    )
    assert world.is_right(text)
    original = apart._alone

    def none(joins, lost):
        return replace(original(joins, lost), limit=0)

    monkeypatch.setattr(apart, "_alone", none)
    assert not world.is_right(text)
