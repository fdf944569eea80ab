"""What expressions mean, row by row: a small interpreter, made to be obviously right.

Rows are arrays by column name. NaN is NULL, in numbers and in truths (1 and 0).
"""

from functools import reduce

import numpy as np

from qserv.plan.expressions import (
    Call,
    Case,
    Cast,
    ColumnRef,
    InList,
    InMoc,
    InPolygon,
    Literal,
    Near,
    Pixel,
    Separation,
)
from qserv.sky import healpix
from qserv.sky.regions import chord2


def value(node, rows):
    """Return what a number or a predicate is for each row."""
    return _MEANING[type(node)](node, rows)


def known(found, *inputs):
    """Make NaN of what has a NaN among its inputs."""
    null = np.isnan(np.sum(np.broadcast_arrays(*inputs), axis=0))
    return np.where(null, np.nan, found)


def both(a, b):
    """AND, by Kleene's table."""
    return np.where((a == 0) | (b == 0), 0.0, a * b)


def either(a, b):
    return 1 - both(1 - a, 1 - b)


def _column(node, rows):
    return rows[node.column.name]


def _literal(node, rows):
    return np.full(len(rows["ra"]), float(node.value))


def _cast(node, rows):
    return value(node.argument, rows)


def _case(node, rows):
    found = np.full(len(rows["ra"]), np.nan)
    if node.default is not None:
        found = value(node.default, rows)
    for condition, result in reversed(node.branches):
        found = np.where(value(condition, rows) == 1, value(result, rows), found)
    return found


def _in_list(node, rows):
    argument = value(node.argument, rows)
    items = [value(item, rows) for item in node.items]
    return reduce(either, (known(argument == i, argument, i) for i in items))


def _vector(position, rows):
    lon, lat = value(position.lon, rows), value(position.lat, rows)
    null = np.isnan(lon) | np.isnan(lat)
    unit = healpix.unit_vectors(np.where(null, 0, lon), np.where(null, 0, lat))
    return np.where(null, np.nan, np.stack(unit))


def _chords(node, rows):
    """Squared chords to the other place and to its antipode, added as SQL adds them."""
    a, b = _vector(node.first, rows), _vector(node.second, rows)
    return [
        (a[0] - s * b[0]) ** 2 + (a[1] - s * b[1]) ** 2 + (a[2] - s * b[2]) ** 2
        for s in (1, -1)
    ]


def _near(node, rows):
    chord, _ = _chords(node, rows)
    limit = -1.0 if node.radius < 0 else chord2(min(node.radius, 180.0))
    if node.radius == 180 and not node.closed:
        limit = 4.0
    return known(chord <= limit if node.closed else chord < limit, chord)


def _separation(node, rows):
    chord, other = _chords(node, rows)
    return np.degrees(2 * np.arctan2(np.sqrt(chord), np.sqrt(other)))


def _in_polygon(node, rows):
    place = _vector(node.position, rows)
    return known(node.polygon.contains(*place), *place)


def _home(position, rows):
    """Order-29 pixels, and which of them there are."""
    lon, lat = value(position.lon, rows), value(position.lat, rows)
    null = np.isnan(lon) | np.isnan(lat)
    return healpix.pixels(np.where(null, 0, lon), np.where(null, 0, lat)), ~null


def _pixel(node, rows):
    pixels, there = _home(node.position, rows)
    return np.where(there, pixels >> 2 * (healpix.ORDER - node.order), np.nan)


def _in_moc(node, rows):
    pixels, there = _home(node.pixel.position, rows)
    return np.where(there, node.moc.contains(pixels), np.nan)


def _call(node, rows):
    given = [value(argument, rows) for argument in node.arguments]
    with np.errstate(all="ignore"):
        return _CALLED[node.function](*given)


def _compare(ufunc):
    return lambda a, b: known(ufunc(a, b), a, b)


def _is(truth):
    return lambda a: (a == truth).astype(float)


def _between(a, low, high):
    return both(known(a >= low, a, low), known(a <= high, a, high))


_MEANING = {
    ColumnRef: _column,
    Literal: _literal,
    Cast: _cast,
    Case: _case,
    InList: _in_list,
    Near: _near,
    Separation: _separation,
    InPolygon: _in_polygon,
    Pixel: _pixel,
    InMoc: _in_moc,
    Call: _call,
}
_CALLED = {
    "AND": both,
    "OR": either,
    "NOT": lambda a: 1 - a,
    "IS TRUE": _is(1),
    "IS FALSE": _is(0),
    "IS NULL": lambda a: np.isnan(a).astype(float),
    "BETWEEN": _between,
    "=": _compare(np.equal),
    "<>": _compare(np.not_equal),
    "<": _compare(np.less),
    "<=": _compare(np.less_equal),
    ">": _compare(np.greater),
    ">=": _compare(np.greater_equal),
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "NEGATE": np.negative,
    "ABS": np.abs,
    "RADIANS": np.radians,
    "FINITE": lambda a: np.where(np.isfinite(a), a, np.nan),
}
