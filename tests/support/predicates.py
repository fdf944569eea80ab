"""Predicates over a position and a magnitude: made by hand, and at random.

Random ones are about one place and one size, so that their limits often coincide, and
`rows_about` puts rows on those limits and next to them.
"""

import math

import numpy as np
from hypothesis import strategies as st
from support.strategies import from_here, sky

from qserv.catalog.tables import Column, DataType
from qserv.plan import functions
from qserv.plan.expressions import (
    Cast,
    ColumnRef,
    InList,
    InMoc,
    InPolygon,
    Literal,
    Near,
    Pixel,
    Position,
    Separation,
)
from qserv.plan.functions import operator
from qserv.sky import healpix
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import box


def column(name, datatype=DataType.DOUBLE, relation=0):
    return ColumnRef(relation, Column(name, datatype))


RA, DEC, MAG = (column(name) for name in ("ra", "dec", "mag"))
HERE = Position(RA, DEC)


def literal(value):
    match value:
        case bool():
            return Literal(value, DataType.BOOLEAN)
        case int():
            return Literal(value, DataType.BIGINT)
        case _:
            return Literal(float(value), DataType.DOUBLE)


def near(lon, lat, radius, closed=True):
    return Near(HERE, Position(literal(lon), literal(lat)), radius, closed)


def between(value, low, high):
    return operator("BETWEEN", value, literal(low), literal(high))


def negated(node):
    return operator("NOT", node)


COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]
small = st.integers(-2, 2)


@st.composite
def scenes(draw):
    """A place, a size, and numbers near its coordinates."""
    lon, lat = draw(sky)
    size = draw(st.sampled_from([0.0, 1e-7, 1 / 3600, 0.01, 1.0, 20.0]))
    steps = [-2, -1, 0, 1, 2]
    lons = [lon + s * size for s in steps] + [0.0, 360.0, -5.0, 365.0]
    lats = [lat + s * size for s in steps] + [90.0, -90.0, 0.0]
    return lon, lat, size, lons, lats


def wrapped(draw, node, limit):
    """An expression in a coordinate, and the limit that fits it."""
    number = draw(st.sampled_from([3, -7.5, 0.1, 15.0, 1e12, 1e-3]))
    match draw(st.sampled_from(["", "", "", "-", "+", "c-", "*", "/", "CAST", "RAD"])):
        case "-":
            return operator("NEGATE", node), -limit
        case "+":
            return operator("+", node, literal(number)), limit + number
        case "c-":
            return operator("-", literal(number), node), number - limit
        case "*":
            return operator("*", literal(number), node), limit * number
        case "/":
            return operator("/", node, literal(number)), limit / number
        case "CAST":
            return Cast(node, DataType.DOUBLE), limit
        case "RAD":
            return functions.function("RADIANS", (node,)), math.radians(limit)
        case _:
            return node, limit


@st.composite
def comparisons(draw, scene):
    _, _, size, lons, lats = scene
    node, limits = draw(st.sampled_from([(RA, lons), (DEC, lats)]))
    node, limit = wrapped(draw, node, draw(st.sampled_from(limits)))
    sides = [node, literal(limit)]
    match draw(st.sampled_from(["", "", "BETWEEN", "IN", "ABS", "CASE"])):
        case "BETWEEN":
            return between(
                node, limit - draw(st.sampled_from([-1, 0, 1])) * size, limit
            )
        case "IN":
            items = tuple(literal(limit + s * size) for s in draw(st.sets(small)))
            return InList(node, (literal(limit), *items))
        case "ABS":
            off = operator("-", *sides)
            return operator("<", functions.function("ABS", (off,)), literal(size))
        case "CASE":
            far = operator("-", node, literal(360))
            turned = functions.case(((operator(">", *sides), far),), node)
            return operator("<=", turned, literal(limit))
    if draw(st.booleans()):
        sides.reverse()
    return operator(draw(st.sampled_from(COMPARISONS)), *sides)


@st.composite
def distances(draw, scene):
    lon, lat, size, _, _ = scene
    there = Position(literal(lon), literal(lat))
    pair = draw(st.permutations([HERE, there]))
    radius = draw(st.sampled_from([size, 2 * size, -1.0, 90.0, 180.0 - size, 180.0]))
    if draw(st.booleans()):
        return Near(*pair, radius, draw(st.booleans()))
    angle, limit = wrapped(draw, Separation(*pair), radius)
    if draw(st.booleans()):
        return between(angle, min(limit, limit / 2), max(limit, limit / 2))
    return operator(draw(st.sampled_from(COMPARISONS)), angle, literal(limit))


@st.composite
def polygons(draw, scene):
    lon, lat, size, _, _ = scene
    side = st.sampled_from([size or 1e-6, 1.0, 50.0])
    return InPolygon(HERE, box(lon, lat, draw(side), draw(side)))


@st.composite
def pixels(draw, scene):
    """Conditions on the pixel of a place, whose number a float holds exactly."""
    lon, lat, _, _, _ = scene
    order = draw(st.sampled_from([0, 1, 3, 8, 24]))
    (here,) = healpix.pixels([lon], [lat], order).tolist()
    node, number = Pixel(HERE, order), here + draw(small)
    match draw(st.sampled_from(["", "", "BETWEEN", "IN", "MOC", "+", "DOUBLE"])):
        case "BETWEEN":
            return between(node, number, here + draw(small))
        case "IN":
            items = tuple(literal(here + step) for step in draw(st.sets(small)))
            return InList(node, (literal(number), *items))
        case "MOC":
            cells = [c for c in (here, number) if 0 <= c < 12 * 4**order]
            area = RangeSet.from_pixels(order, cells)
            return InMoc(Pixel(HERE, healpix.ORDER), area, literal(True))
        case "+":
            node, number = operator("+", literal(7), node), number + 7
        case "DOUBLE":
            number = number + draw(st.sampled_from([0.0, 0.5]))
    sides = [node, literal(number)]
    if draw(st.booleans()):
        sides.reverse()
    return operator(draw(st.sampled_from(COMPARISONS)), *sides)


others = st.sampled_from(
    [
        operator("<", MAG, literal(20)),
        operator("IS NULL", MAG),
        operator("IS NULL", RA),
        operator(">", RA, MAG),
        operator("=", literal(1), literal(0)),
        literal(True),
        literal(False),
    ]
)


@st.composite
def predicates(draw, scene):
    leaves = st.one_of(
        comparisons(scene),
        comparisons(scene),
        distances(scene),
        polygons(scene),
        pixels(scene),
        others,
    )
    return draw(
        st.recursive(
            leaves,
            lambda below: st.one_of(
                st.tuples(below, below).map(lambda p: operator("AND", *p)),
                st.tuples(below, below).map(lambda p: operator("OR", *p)),
                below.map(negated),
                below.map(lambda p: operator("IS TRUE", p)),
                below.map(lambda p: operator("IS FALSE", p)),
                st.tuples(below, st.sampled_from(["=", "<>"]), st.booleans()).map(
                    lambda t: operator(t[1], t[0], literal(t[2]))
                ),
            ),
            max_leaves=6,
        )
    )


def rows_about(scene, bearing):
    """Rows on the limits, next to them, about them, and anywhere."""
    lon, lat, size, lons, lats = scene
    rng = np.random.default_rng(5)
    lons = np.array([*lons, *(limit + 360 for limit in lons)]) % 360
    lons = np.concatenate((lons, np.nextafter(lons, 400), np.nextafter(lons, -1)))
    lats = np.array([*lats, *rng.uniform(-90, 90, 4)])
    lats = np.concatenate((lats, np.nextafter(lats, 99), np.nextafter(lats, -99)))
    ra, dec = (part.reshape(-1) for part in np.meshgrid(lons, lats))
    angle = np.array([0.5, 1, 2]) * size
    angle = np.concatenate((angle, 180 - angle, [90.0, 1e-6]))
    part = np.tile([1 - 1e-9, 1 - 1e-15, 1.0, 1 + 1e-15, 1 + 1e-9], len(angle))
    angle = np.clip(np.repeat(angle, 5) * part, 0, 180)
    start = (np.full(len(angle), c) for c in (lon, lat))
    ring = from_here(*start, np.full(len(angle), bearing), angle)
    ra, dec = np.concatenate((ra, ring[0])), np.concatenate((dec, ring[1]))
    on_sky = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)
    ra, dec = np.tile(ra[on_sky], 2), np.tile(dec[on_sky], 2)
    mag = np.where(np.arange(len(ra)) < len(ra) // 2, 19.0, np.nan)
    return {"ra": ra, "dec": dec, "mag": mag}
