"""Bind geometry: distances, regions and pixels of positions on the sky.

A MOC is a condition on the pixel of a position. It is tested by what SQL has: a few
ranges are compared, of more the pixels of each order are a list that is hashed, so that
a MOC of 30,000 ranges is a handful of look-ups a row and no long text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

from sqlglot import exp

from qserv.catalog.tables import DataType
from qserv.dialects import geometry
from qserv.dialects.lexis import where_is
from qserv.errors import InvalidValue, TypeMismatch, UnsupportedQuery
from qserv.plan import functions
from qserv.plan.expressions import (
    Expression,
    InList,
    InMoc,
    InPolygon,
    InValues,
    Literal,
    Near,
    Pixel,
    Position,
    Separation,
)
from qserv.sky import healpix, moc
from qserv.sky.healpix import ORDER, Pixels
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import Polygon, box

_FEW_RANGES: Final = 4
"""Ranges of a MOC that are compared one by one."""
_FEW_PIXELS: Final = 64
"""Pixels of an order that stand in the SQL; more are a list that is bound."""

Bound = Sequence[Expression]


def near(symbol: str, angle: Expression, limit: Expression) -> Expression | None:
    """Make a comparison of an angle with a constant the canonical near predicate."""
    if not (isinstance(angle, Separation) and isinstance(limit, Literal)):
        return None
    if not limit.datatype.is_numeric:
        return None
    radius = float(limit.value)
    match symbol:
        case "<" | "<=":
            return Near(angle.first, angle.second, radius, symbol == "<=")
        case ">" | ">=":
            inside = Near(angle.first, angle.second, radius, symbol == ">")
            return functions.operator("NOT", inside)
        case _:
            return None


def place(node: exp.Expression, given: Bound) -> Expression:
    """Turn a canonical node of geometry into an expression.

    Parameters
    ----------
    node
        Of `qserv.dialects.geometry`.
    given
        Its expressions, bound.

    Raises
    ------
    TypeMismatch, InvalidValue
        If the query is wrong.
    UnsupportedQuery
        If this is not answered yet.
    """
    return _MADE[type(node)](node, given)


def _degrees(bound: Bound) -> list[Expression]:
    if any(not b.datatype.is_numeric for b in bound):
        raise TypeMismatch("a coordinate or radius is a number in degrees")
    return [functions.cast(b, DataType.DOUBLE) for b in bound]


def _position(lon: Expression, lat: Expression) -> Position:
    if isinstance(lat, Literal) and not -90 <= float(lat.value) <= 90:
        raise InvalidValue(f"a latitude is from -90 to 90 degrees, {lat.value} is not")
    return Position(lon, lat)


def _separation(node: Any, given: Bound) -> Separation:
    del node
    lon1, lat1, lon2, lat2 = _degrees(given)
    return Separation(_position(lon1, lat1), _position(lon2, lat2))


def _in_circle(node: Any, given: Bound) -> Expression:
    del node
    lon1, lat1, lon2, lat2, radius = _degrees(given)
    if isinstance(radius, Literal) and float(radius.value) < 0:
        raise InvalidValue(f"a CIRCLE's radius is not negative, {radius.value} is")
    angle = Separation(_position(lon1, lat1), _position(lon2, lat2))
    return near("<=", angle, radius) or functions.operator("<=", angle, radius)


def _in_polygon(node: Any, given: Bound) -> InPolygon:
    lon, lat, *rest = _degrees(given)
    numbers = [float(r.value) for r in rest if isinstance(r, Literal)]
    if len(numbers) < len(rest):
        raise UnsupportedQuery("a POLYGON or BOX of columns is not answered yet")
    if node.args.get("box"):
        polygon = box(numbers[0], numbers[1], numbers[2], numbers[3])
    else:
        polygon = Polygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))
    return InPolygon(_position(lon, lat), polygon)


def _index(node: Any, given: Bound) -> Expression:
    order, *degrees = given
    name = f"{where_is(node)}{geometry.HEALPIX_INDEX}"
    if not isinstance(order, Literal):
        raise UnsupportedQuery(f"{name} with an order of columns is not answered yet")
    level = order.value
    if type(level) is not int or not 0 <= level <= ORDER:
        raise InvalidValue(
            f"{name} takes an order from 0 to {ORDER}, a whole number, not {level!r}"
        )
    return _pixel(_position(*_degrees(degrees)), level)


def _pixel(position: Position, order: int) -> Expression:
    if (constant := position.constant) is None:
        return Pixel(position, order)
    (pixel,) = healpix.pixels([constant[0]], [constant[1]], order).tolist()
    return Literal(pixel, DataType.BIGINT)


def _in_moc(node: Any, given: Bound) -> Expression:
    *degrees, text = given
    assert isinstance(text, Literal), "the dialect has seen to it"
    try:
        area = moc.parse(str(text.value))
    except InvalidValue as error:
        raise InvalidValue(f"{where_is(node.expressions[2])}{error.text}") from error
    position = _position(*_degrees(degrees))
    return InMoc(_pixel(position, ORDER), area, _test(position, area))


def _test(position: Position, area: RangeSet) -> Expression:
    """Write what an area means in SQL; of no position it is unknown."""
    if len(area) <= _FEW_RANGES:
        pixel = _pixel(position, ORDER)
        spans = area.bounds.tolist() or [[1, 0]]
        return _any(_between(pixel, low, after - 1) for low, after in spans)
    cells = area.cells().items()
    return _any(_among(_pixel(position, order), found) for order, found in cells)


def _any(parts: Iterable[Expression]) -> Expression:
    first, *rest = parts
    return reduce(lambda a, b: functions.operator("OR", a, b), rest, first)


def _between(pixel: Expression, low: int, high: int) -> Expression:
    ends = (Literal(end, DataType.BIGINT) for end in (low, high))
    return functions.operator("BETWEEN", pixel, *ends)


def _among(pixel: Expression, pixels: Pixels) -> Expression:
    values = tuple(pixels.tolist())
    if len(values) > _FEW_PIXELS:
        return InValues(pixel, values, DataType.BIGINT)
    return InList(pixel, tuple(Literal(v, DataType.BIGINT) for v in values))


_MADE: Final[Mapping[type[exp.Expression], Callable[[Any, Bound], Expression]]] = {
    geometry.Separation: _separation,
    geometry.InCircle: _in_circle,
    geometry.InPolygon: _in_polygon,
    geometry.HealpixIndex: _index,
    geometry.InMoc: _in_moc,
}
