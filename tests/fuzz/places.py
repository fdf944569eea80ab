"""Random conditions on positions: near each other, in a region, between coordinates."""

import math

import numpy as np
from fuzz.nodes import Node, Source, Table
from fuzz.pixels import homes, in_moc, in_pixels
from fuzz.scopes import Scope

from qserv.errors import QservError
from qserv.sky import healpix
from qserv.sky.regions import Polygon, box, chord2


def vector(source: Source) -> list[str]:
    """Return the unit vector of a source's position in the oracle's SQL."""
    a = source.alias
    if isinstance(source.relation, Table):
        return [f"{a}._x", f"{a}._y", f"{a}._z"]
    return [
        f"qserv_x({a}.ra, {a}.dec)",
        f"qserv_y({a}.ra, {a}.dec)",
        f"qserv_z({a}.dec)",
    ]


def _listed(source: Source) -> str:
    return ", ".join(vector(source))


def _fixed(lon: float, lat: float) -> str:
    parts = healpix.unit_vectors(np.array([lon]), np.array([lat]))
    return ", ".join(f"{float(p[0])!r}::DOUBLE" for p in parts)


def near(first: Source, second: Source, radius: float, op: str, form: int) -> Node:
    """Return whether two rows lie within a radius, in one of its phrasings."""
    a, b = first.alias, second.alias
    duck = (
        f"(qserv_chord2({_listed(first)}, {_listed(second)}) "
        f"{op} {chord2(radius)!r}::DOUBLE)"
    )
    r = f"{radius:.12f}"
    points = f"POINT({a}.ra, {a}.dec)", f"POINT({b}.ra, {b}.dec)"
    adql = (
        f"DISTANCE({a}.ra, {a}.dec, {b}.ra, {b}.dec) {op} {r}",
        f"DISTANCE({points[0]}, {points[1]}) {op} {r}",
        f"{r} {'>' if op == '<' else '>='} DISTANCE({points[1]}, {points[0]})",
        f"1 = CONTAINS({points[0]}, CIRCLE({b}.ra, {b}.dec, {r}))",
    )
    if form == 3:
        duck = duck.replace(f") {op} ", ") <= ")
    return Node(adql[form], duck, [], "bool", tags=("geometry near",))


def distance(first: Source, second: Source) -> Node:
    a, b = first.alias, second.alias
    return Node(
        f"DISTANCE({a}.ra, {a}.dec, {b}.ra, {b}.dec)",
        f"qserv_separation({_listed(first)}, {_listed(second)})",
        kind="float",
        tolerance=1e-9,
        rough=True,
        tags=("geometry DISTANCE",),
    )


def somewhere(scope: Scope) -> tuple[float, float]:
    """Return the position of some row."""
    place = scope.rng.randrange(len(scope.catalog.samples["ra"]))
    lon, lat = (scope.catalog.samples[name][place] for name in ("ra", "dec"))
    return lon, lat


def region(scope: Scope, source: Source, *, close: bool = False) -> Node:
    """Return a condition on the position of a source, near some row of a catalog.

    A `close` one is about as small as the overlap is wide.
    """
    rng = scope.rng
    lon, lat = somewhere(scope)
    size = scope.catalog.overlap * rng.choice([0.3, 1, 3, 30])
    if close:
        size = scope.catalog.overlap * rng.choice([0.02, 0.3, 1])
    else:
        size += rng.choice([0, 0, 5, 40])
    shapes = [_circle, _circle, _ranges, _ranges, _polygon, _box, _apart]
    made = rng.choice([*shapes, in_pixels, in_pixels, in_moc, homes, homes])
    return made(scope, source, lon, lat, min(size, 80.0))


def _circle(scope, source, lon, lat, size) -> Node:
    a = source.alias
    size = round(size * 1.0000137, 9)
    lon, lat = round(lon, 6), round(lat, 6)
    limit = f"{chord2(size)!r}::DOUBLE"
    chord = f"qserv_chord2({_listed(source)}, {_fixed(lon, lat)})"
    inside = scope.rng.choice([1, 1, 0])
    adql = f"{inside} = CONTAINS(POINT({a}.ra, {a}.dec), CIRCLE({lon}, {lat}, {size}))"
    duck = f"({chord} <= {limit})" if inside else f"(NOT {chord} <= {limit})"
    return Node(f"({adql})", duck, [], "bool", tags=(f"region circle {inside}",))


def _apart(scope, source, lon, lat, size) -> Node:
    a = source.alias
    size = round(size * 1.0000137, 9)
    lon, lat = round(lon, 6), round(lat, 6)
    op = scope.rng.choice(["<", "<=", ">"])
    chord = f"qserv_chord2({_listed(source)}, {_fixed(lon, lat)})"
    adql = f"(DISTANCE({a}.ra, {a}.dec, {lon}, {lat}) {op} {size})"
    duck = f"({chord} {op} {chord2(size)!r}::DOUBLE)"
    return Node(adql, duck, [], "bool", tags=(f"region DISTANCE {op}",))


def _ranges(scope, source, lon, lat, size) -> Node:
    """Limit ra and dec by comparisons, across RA 0 too."""
    a = source.alias
    low, high = round(lon - size, 5), round(lon + size, 5)
    south, north = round(lat - size, 5), round(lat + size, 5)
    if scope.rng.random() < 0.2:
        return _solved(scope, source, lat, size)
    if scope.rng.random() < 0.3:
        return Node(
            *[f"({a}.dec BETWEEN {south} AND {north})"] * 2,
            [],
            "bool",
            tags=("region dec",),
        )
    if low < 0 or high > 360:
        text = f"({a}.ra >= {low % 360:.5f} OR {a}.ra <= {high % 360:.5f})"
        tag = "region ra wrap"
    elif scope.rng.random() < 0.5:
        text, tag = f"({a}.ra BETWEEN {low} AND {high})", "region ra BETWEEN"
    else:
        text, tag = f"({a}.ra > {low} AND {high} >= {a}.ra)", "region ra compared"
    if scope.rng.random() < 0.5:
        text = f"({text} AND {a}.dec > {south} AND {a}.dec < {north})"
    return Node(text, text, [], "bool", tags=(tag,))


def _solved(scope, source, lat, size) -> Node:
    """Limit the declination by what has to be solved for it."""
    a, lat, size = source.alias, round(lat, 5), round(size, 5)
    tags = ("region dec solved",)
    if scope.rng.random() < 0.5:
        op = scope.rng.choice(["<", ">="])
        adql = f"(ABS({a}.dec - ({lat})) * 3600 {op} {size} * 3600)"
        duck = f"(abs({a}.dec - ({lat}e0)) * 3600e0 {op} {size}e0 * 3600e0)"
        return Node(adql, duck, [], "bool", tags=tags)
    adql = f"(2 * {a}.dec + 1 > {2 * lat:.5f})"
    return Node(adql, adql, [], "bool", tags=tags)


def _polygon(scope, source, lon, lat, size) -> Node:
    size = min(size, 30.0)
    lat = min(max(lat, -60.0), 60.0)
    angles = sorted(
        scope.rng.uniform(0, 2 * math.pi) for _ in range(scope.rng.choice([3, 4, 5]))
    )
    squeeze = max(0.3, math.cos(math.radians(lat)))
    corners = [
        (
            round((lon + size * math.cos(t) / squeeze) % 360, 6),
            round(lat + size * math.sin(t), 6),
        )
        for t in angles
    ]
    listed = ", ".join(f"{x}, {y}" for x, y in corners)
    adql = f"POLYGON({listed})"
    return _in_polygon(
        scope, source, adql, lambda: Polygon(tuple(corners)), "region polygon"
    )


def _box(scope, source, lon, lat, size) -> Node:
    width, height = (
        round(min(size, 50.0) + 0.001, 6),
        round(min(size, 40.0) * 0.7 + 0.001, 6),
    )
    lon, lat = round(lon, 6), round(min(max(lat, -60.0), 60.0), 6)
    adql = f"BOX({lon}, {lat}, {width}, {height})"
    return _in_polygon(
        scope, source, adql, lambda: box(lon, lat, width, height), "region box"
    )


def _in_polygon(scope, source, adql, make, tag) -> Node:
    try:
        center, east, north, plane = make().frame()
    except QservError:  # a polygon that the product refuses: any other
        return _circle(scope, source, 10.0, 20.0, 30.0)
    a = source.alias
    parts = vector(source)

    def dot(axis):
        terms = (f"{c} * {v!r}::DOUBLE" for c, v in zip(parts, axis, strict=True))
        return f"({' + '.join(terms)})"

    height, u, v = (
        dot(center),
        f"({dot(east)} / {dot(center)})",
        f"({dot(north)} / {dot(center)})",
    )
    odd = "FALSE"
    for (u1, v1), (u2, v2) in zip(plane, (*plane[1:], plane[0]), strict=True):
        if v1 != v2:
            slope = (u2 - u1) / (v2 - v1)
            odd = (
                f"({odd} <> (({v1!r}::DOUBLE > {v}) <> ({v2!r}::DOUBLE > {v}) AND "
                f"{u} < {u1!r}::DOUBLE + {slope!r}::DOUBLE * ({v} - {v1!r}::DOUBLE)))"
            )
    inside = scope.rng.choice([1, 1, 0])
    duck = f"({height} > 0 AND {odd})"
    text = f"({inside} = CONTAINS(POINT({a}.ra, {a}.dec), {adql}))"
    return Node(text, duck if inside else f"(NOT {duck})", [], "bool", tags=(tag,))
