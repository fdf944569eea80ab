import math
from dataclasses import replace
from functools import reduce

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.meaning import value
from support.predicates import (
    DEC,
    HERE,
    MAG,
    RA,
    between,
    column,
    comparisons,
    distances,
    literal,
    near,
    negated,
    pixels,
    predicates,
    rows_about,
    scenes,
)
from support.strategies import bearings

from qserv.catalog.tables import HEALPIX, Column, DataType
from qserv.plan import area as area_module
from qserv.plan import functions, solve
from qserv.plan.area import area
from qserv.plan.expressions import (
    Cast,
    ColumnRef,
    InList,
    Near,
    Null,
    Pixel,
    Position,
    Separation,
    conjunction,
    map_children,
)
from qserv.plan.functions import operator
from qserv.sky import healpix, moc
from qserv.sky.ranges import SPHERE, RangeSet
from qserv.sky.regions import Circle

THERE = Position(literal(83), literal(22))
AWAY = Separation(HERE, THERE)


def any_of(*nodes):
    return reduce(lambda a, b: operator("OR", a, b), nodes)


def rectangle(lon, lat, size):
    return conjunction(
        (between(RA, lon - size, lon + size), between(DEC, lat - size, lat + size))
    )


def share(ranges):
    """Which part of the sky is in ranges."""
    return float(np.sum(ranges.bounds[:, 1] - ranges.bounds[:, 0])) / SPHERE


def missed(predicate, rows):
    """How many rows for which a predicate is true lie outside its area."""
    found = area(predicate, HERE)
    true = value(predicate, rows) == 1
    if found is None:
        return 0
    pixels = healpix.pixels(rows["ra"][true], rows["dec"][true])
    return int(np.sum(~found.contains(pixels)))


@settings(deadline=None, max_examples=400)
@given(st.data(), scenes(), bearings)
def test_the_area_holds_every_place_where_the_predicate_is_true(data, scene, bearing):
    predicate = data.draw(predicates(scene))
    assert missed(predicate, rows_about(scene, bearing)) == 0


@settings(deadline=None, max_examples=200)
@given(st.data(), scenes())
def test_a_predicate_with_an_area_is_not_true_of_a_row_without_position(data, scene):
    predicate = data.draw(predicates(scene))
    null = np.full(2, np.nan)
    rows = {"ra": null, "dec": null, "mag": np.array([19.0, np.nan])}
    if (value(predicate, rows) == 1).any():
        assert area(predicate, HERE) is None


def single(node):
    """Read positions from columns of single precision, as Near does: through a cast."""
    if isinstance(node, ColumnRef) and node in {RA, DEC}:
        return column(node.column.name, DataType.REAL)
    if isinstance(node, (Near, Separation)):
        cast = Position(*(Cast(single(c), DataType.DOUBLE) for c in (RA, DEC)))
        first, second = (cast if p == HERE else p for p in (node.first, node.second))
        return replace(node, first=first, second=second)
    return map_children(node, single)


@settings(deadline=None, max_examples=50)
@given(st.data(), scenes())
def test_columns_of_single_precision_are_the_same_numbers(data, scene):
    node = data.draw(st.one_of(comparisons(scene), distances(scene)))
    assert area(single(node), Position(single(RA), single(DEC))) == area(node, HERE)


def test_without_asking_where_it_may_be_false_rows_are_lost(monkeypatch):
    scene = (10.0, 20.0, 1.0, [10.0], [20.0])
    rows = rows_about(scene, 0.3)
    predicate = negated(near(10.0, 20.0, 1.0))
    assert missed(predicate, rows) == 0
    right = area_module._Finder.where
    monkeypatch.setattr(
        area_module._Finder, "where", lambda *given, truth: right(*given, truth=True)
    )
    assert missed(predicate, rows) > 0


def test_without_rounding_outwards_rows_are_lost(monkeypatch):
    rows = {"ra": np.array([10 + 6e-5]), "dec": np.array([0.0]), "mag": np.zeros(1)}
    moved = operator("+", RA, literal(1e12))
    limit = literal(value(moved, rows)[0])
    predicate = conjunction((operator("=", moved, limit), between(DEC, 0, 0)))
    assert missed(predicate, rows) == 0
    monkeypatch.setattr(solve, "_ROUNDING", 0.0)
    assert missed(predicate, rows) == 1


# Pixels: of positions, and homes

HOME = ColumnRef(0, Column(HEALPIX, DataType.BIGINT))
SIXTY_BITS = 2**60 + 12345


@settings(deadline=None, max_examples=200)
@given(st.data(), scenes(), bearings)
def test_conditions_on_pixels_have_areas(data, scene, bearing):
    predicate = data.draw(pixels(scene))
    assert missed(predicate, rows_about(scene, bearing)) == 0
    assert missed(negated(predicate), rows_about(scene, bearing)) == 0


def lost(condition, limit):
    """How many homes that DuckDB finds the area does not hold."""
    near_by = SIXTY_BITS + np.arange(-3000, 3000)
    sql = f"SELECT home FROM near_by WHERE home {condition} {limit!r}"
    connection = duckdb.connect()
    connection.register("near_by", pa.table({"home": near_by}))
    found = connection.sql(sql.replace("e+", "e")).to_arrow_table()["home"].to_numpy()
    node = operator(condition, HOME, literal(limit))
    assert len(found), "the test asks for nothing"
    held = area(node, None, 0)
    return 0 if held is None else int(np.sum(~held.contains(found)))


@pytest.mark.parametrize("limit", [SIXTY_BITS, float(SIXTY_BITS)])
@pytest.mark.parametrize("condition", ["=", "<", ">", "<=", ">=", "<>"])
def test_homes_of_sixty_bits_are_found_though_a_double_rounds_them(condition, limit):
    assert lost(condition, limit) == 0


def test_without_rounding_outwards_homes_are_lost(monkeypatch):
    monkeypatch.setattr(solve, "_DIGITS", 63)
    assert lost("=", float(SIXTY_BITS)) > 0


def test_a_pixel_is_its_own_area():
    for order in (0, 6, 20):
        node = operator("=", literal(5), Pixel(HERE, order))
        assert area(node, HERE) == RangeSet.from_pixels(order, [5])
        rest = RangeSet.everything() - RangeSet.from_pixels(order, [5])
        assert area(negated(node), HERE) == rest
        assert area(operator("<>", Pixel(HERE, order), literal(5)), HERE) == rest
    few = InList(Pixel(HERE, 3), (literal(5), literal(9)))
    assert area(few, HERE) == RangeSet.from_pixels(3, [5, 9])
    assert area(operator(">", Pixel(HERE, 1), literal(44)), HERE) == moc.parse(
        "1/45-47"
    )


def test_the_quotient_of_a_home_is_a_coarser_pixel():
    coarse = operator("/", HOME, literal(4**23))
    assert area(operator("=", coarse, literal(100)), None, 0) == moc.parse("6/100")
    cell = operator("SUBCHUNK", HOME)
    assert area(between(cell, 7, 9), None, 0) == moc.parse("12/7-9")
    assert area(operator("=", HOME, literal(3)), HERE) is None
    assert area(operator("=", HOME, literal(3)), HERE, home=1) is None


# How much of the sky


@pytest.mark.parametrize("size", [1 / 3600, 1 / 60, 1.0])
def test_a_box_of_meridians_and_parallels_prunes_as_a_cone_does(size):
    cone = share(area(near(83, 22, size), HERE))
    assert share(area(rectangle(83, 22, size), HERE)) < 1.2 * cone


def test_a_cone_has_the_cover_of_its_circle():
    for node in (
        near(83, 22, 1 / 60),
        Near(THERE, HERE, 1 / 60, closed=False),
        operator("<", AWAY, literal(1 / 60)),
        conjunction((near(83, 22, 1 / 60), operator("<", MAG, literal(20)))),
    ):
        assert area(node, HERE) == Circle(83, 22, 1 / 60).cover()


def test_what_says_nothing_about_the_position_has_no_area():
    elsewhere = Position(column("ra", relation=1), column("dec", relation=1))
    for node in (
        None,
        operator("<", MAG, literal(20)),
        operator("OR", near(83, 22, 1), operator("<", MAG, literal(20))),
        operator("IS NULL", RA),
        operator("<", RA, DEC),
        Near(HERE, elsewhere, 1.0, closed=True),
        Near(elsewhere, Position(literal(0), literal(0)), 1.0, closed=True),
        near(83, 22, 180),
        near(83, 22, 500),
        operator(">=", RA, literal(0)),
        between(DEC, -90, 90),
        negated(operator("IS TRUE", near(83, 22, 1))),
        InList(RA, (literal(3), MAG)),
        near(83, 22, math.nan),
        literal(True),
    ):
        assert area(node, HERE) is None, node


def test_what_no_row_can_fulfil_has_an_empty_area():
    for node in (
        literal(False),
        Null(DataType.BOOLEAN),
        negated(Null(DataType.BOOLEAN)),
        operator("=", literal(1), literal(0)),
        operator("<", RA, literal(-5)),
        operator(">", DEC, literal(91)),
        between(RA, 20, 10),
        conjunction((between(DEC, 1, 2), between(DEC, 3, 4))),
        conjunction((near(10, 20, 1), near(10, 30, 1))),
        near(83, 22, -1.0),
        negated(literal(True)),
        operator("IS FALSE", literal(True)),
    ):
        assert area(node, HERE) == RangeSet.nothing(), node


def test_not_a_hemisphere_is_half_the_sky():
    assert share(area(negated(near(83, 22, 90)), HERE)) == pytest.approx(0.5, abs=0.03)
    assert share(area(negated(near(83, 22, 150)), HERE)) < 0.12


def test_ra_wraps_by_or_and_by_case():
    by_or = any_of(operator(">", RA, literal(359.5)), operator("<", RA, literal(0.5)))
    turned = functions.case(
        ((operator(">", RA, literal(180)), operator("-", RA, literal(360))),), RA
    )
    by_case = between(turned, -0.5, 0.5)
    for node in (by_or, by_case):
        narrow = conjunction((node, between(DEC, -0.5, 0.5)))
        assert share(area(narrow, HERE)) < 1.2 * share(area(near(0, 0, 0.5), HERE))


def test_stored_right_ascensions_do_not_go_beyond_a_turn():
    assert area(between(RA, 350, 370), HERE) == area(
        operator(">=", RA, literal(350)), HERE
    )


def test_a_ring_has_a_hole():
    ring = between(AWAY, 1.9, 2)
    assert share(area(ring, HERE)) < 0.6 * share(area(near(83, 22, 2), HERE))
    middle = healpix.pixels([83], [22])
    assert not area(ring, HERE).contains(middle).any()


def test_arithmetic_on_either_side_is_solved():
    arcsec = operator("*", AWAY, literal(3600))
    assert share(area(operator("<", arcsec, literal(5)), HERE)) < 1e-8
    off = functions.function("ABS", (operator("-", DEC, literal(22)),))
    strip = operator("<", off, operator("/", literal(36), literal(3600.0)))
    assert area(strip, HERE) == area(between(DEC, 21.99, 22.01), HERE)
    hours = between(operator("/", RA, literal(15.0)), 5, 6)
    assert share(area(hours, HERE)) < 1.3 / 24


def test_many_alternatives_stay_separate():
    cones = any_of(*(near(3.0 * i, 22, 1 / 60) for i in range(100)))
    boxes = any_of(*(rectangle(3.0 * i, 22, 1 / 60) for i in range(100)))
    assert share(area(boxes, HERE)) < 1.2 * share(area(cones, HERE))
    lists = InList(DEC, tuple(literal(i / 7) for i in range(1000)))
    assert area(lists, HERE).contains(healpix.pixels([5, 7], [1 / 7, 500 / 7])).all()
