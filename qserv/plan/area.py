"""Find where on the sky a row can lie for which a predicate is true.

Every phrasing counts: circles, polygons, MOCs, distances, comparisons of coordinates
and of HEALPix pixels, and what AND, OR and NOT make of them. The area only prunes; the
exact predicate runs too.

A predicate is true, false or unknown of a row. For each part of it we ask where it may
be true, or, below a NOT, where it may be false; each answer is a superset. AND may be
true where all its parts may be, and false where any may be; OR the other way round. A
part that we cannot read may be anything anywhere.

Unless the answer is "anywhere", the predicate is not true of a row whose position is
NULL: no part of it is that limits the area, and neither AND, OR nor NOT change that
(`IS TRUE` and `IS FALSE` do, so they count as unreadable where they may be false). So
an area may limit the null-extended side of an outer join too.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import and_
from typing import Final

from qserv.catalog.tables import CHUNK, HEALPIX
from qserv.plan.expressions import (
    Call,
    Case,
    ColumnRef,
    Expression,
    InList,
    InMoc,
    InPolygon,
    Literal,
    Near,
    Null,
    Pixel,
    Position,
    Separation,
)
from qserv.plan.solve import (
    among,
    bare,
    compared,
    constant,
    in_chunks,
    is_place,
    numbered,
    solve,
)
from qserv.sky.healpix import ORDER
from qserv.sky.intervals import Intervals
from qserv.sky.ranges import RangeSet
from qserv.sky.refine import united
from qserv.sky.regions import Circle
from qserv.sky.zones import LATITUDES, LONGITUDES, SKY, Zone

_WHOLE: Final = RangeSet.everything()
_HALF_TURN: Final = 180.0
_ANGLES: Final = Intervals.of([(0.0, _HALF_TURN + 1)])
"""What a distance may come out as; rounding may take it beyond a half turn."""
_MOST_RINGS: Final = 8
"""Rings about one place; of more, the narrowest gaps are filled."""
_MOST_BOXES: Final = 8
"""Boxes in a row that are covered as one zone."""
_MIRROR: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>"}


def area(
    predicate: Expression | None, position: Position | None, home: int | None = None
) -> RangeSet | None:
    """Return where rows lie for which a predicate can be true.

    Parameters
    ----------
    predicate
        What must hold; None holds always.
    position
        The own position of the rows: two columns. None to ask for homes alone.
    home
        The number of the relation, if its homes are asked for; with a position, too,
        if they are the same.

    Returns
    -------
    RangeSet or None
        Every order-29 pixel that holds the position of such a row, or is its home, is
        in it. None where the predicate says nothing about that.
    """
    if predicate is None:
        return None
    found = _Finder(position, home).where(predicate, truth=True)
    if found.is_everywhere:
        return None
    cover = found.cover()
    return None if cover == _WHOLE else cover


@dataclass(frozen=True, slots=True)
class _Places:
    """A zone, as far as it lies in ranges: what AND makes of simple conditions.

    Coordinates are kept as numbers as long as possible, because a box has few pixels
    where its meridians and its parallels have many.
    """

    zone: Zone = SKY
    ranges: RangeSet | None = None

    @property
    def is_everywhere(self) -> bool:
        return self.ranges is None and self.zone.is_everywhere

    @property
    def is_empty(self) -> bool:
        nothing = self.ranges is not None and self.ranges.is_empty
        return nothing or self.zone.is_empty

    def cover(self) -> RangeSet:
        return self.zone.cover(self.ranges)

    def __and__(self, other: "_Places") -> "_Places":
        if self.is_everywhere:
            return other
        ranges = [r for r in (self.ranges, other.ranges) if r is not None]
        zone = self.zone & other.zone
        return _Places(zone, reduce(and_, ranges) if ranges else None)


_EVERYWHERE: Final = _Places()
_NOWHERE: Final = _Places(Zone(Intervals(()), Intervals(())))


@dataclass(frozen=True, slots=True)
class _Finder:
    position: Position | None
    home: int | None

    def where(self, node: Expression, *, truth: bool) -> _Places:
        """Return where a predicate may be true, or may be false."""
        match node:
            case Call("NOT", (inner,)):
                return self.where(inner, truth=not truth)
            case Call("AND" | "OR" as name):
                parts = self._parts(node, name, truth)
                return _all(parts) if (name == "AND") is truth else _any(parts)
            case Call("IS TRUE", (inner,)) if truth:
                return self.where(inner, truth=True)
            case Call("IS FALSE", (inner,)) if truth:
                return self.where(inner, truth=False)
            case Call("BETWEEN", (value, low, high)):
                return self._between(value, low, high, truth)
            case Call(name, (left, right)):
                return self._comparison(name, left, right, truth)
            case _:
                return self._leaf(node, truth)

    def _parts(self, node: Call, name: str, truth: bool) -> Iterator[_Places]:
        """Yield what the parts of a chain of one operator say, in any order."""
        waiting: list[Expression] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Call) and part.function == name:
                waiting += part.arguments
            else:
                yield self.where(part, truth=truth)

    def _leaf(self, node: Expression, truth: bool) -> _Places:
        match node:
            case Literal(value=bool() as value):
                return _EVERYWHERE if value is truth else _NOWHERE
            case Null():
                return _NOWHERE
            case InList():
                return self._in_list(node, truth)
            case Near():
                return self._near(node, truth)
            case InPolygon() if self._is_here(node.position):
                polygon = node.polygon
                return _Places(ranges=polygon.cover() if truth else polygon.outside())
            case InMoc() if self._order(node.pixel) is not None:
                return _Places(ranges=node.moc if truth else _WHOLE - node.moc)
            case _:
                return _EVERYWHERE

    def _is_here(self, place: Position) -> bool:
        return self.position is not None and is_place(place, self.position)

    def _order(self, node: Expression) -> int | None:
        """Return the order of a number that is the pixel of a row, if it is that."""
        match node:
            case Pixel() if self._is_here(node.position):
                return node.order
            case ColumnRef() if node.column.name == HEALPIX:
                return ORDER if node.relation == self.home else None
            case _:
                return None

    def _is_chunk(self, node: Expression) -> bool:
        """Whether a number is that of the chunk of a row, which holds its home."""
        match node:
            case ColumnRef(number) if node.column.name == CHUNK:
                return number == self.home
            case _:
                return False

    def _near(self, node: Near, truth: bool) -> _Places:
        if math.isnan(node.radius):
            return _EVERYWHERE
        limits = (-math.inf, node.radius) if truth else (node.radius, math.inf)
        return self._separated(node, Intervals.of([limits]))

    def _in_list(self, node: InList, truth: bool) -> _Places:
        if not self._speaks(node.argument):
            return _EVERYWHERE
        values = [constant(item) for item in node.items]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return _EVERYWHERE
        return self._limited(node.argument, among(node.argument, known, truth))

    def _speaks(self, value: Expression) -> bool:
        """Whether limits of a number limit the position."""
        return not self._limited(value, Intervals(())).is_everywhere

    def _comparison(
        self, name: str, left: Expression, right: Expression, truth: bool
    ) -> _Places:
        if name not in _MIRROR:
            return _EVERYWHERE
        if isinstance(left, Literal) or constant(left) is not None:
            name, left, right = _MIRROR[name], right, left
        if isinstance(right, Literal) and isinstance(right.value, bool):
            return self._compared_truth(name, left, right.value, truth)
        if (limit := constant(right)) is None:
            return _EVERYWHERE
        return self._limited(left, compared(left, name, limit, truth))

    def _between(
        self, value: Expression, low: Expression, high: Expression, truth: bool
    ) -> _Places:
        first, last = constant(low), constant(high)
        if first is None or last is None:
            above = self._comparison(">=", value, low, truth)
            below = self._comparison("<=", value, high, truth)
            return _all((above, below)) if truth else _any((above, below))
        if truth:
            return self._limited(value, Intervals.of([(first, last)]))
        beyond = compared(value, "<", first, truth=True)
        beyond |= compared(value, ">", last, truth=True)
        return self._limited(value, beyond)

    def _compared_truth(
        self, name: str, node: Expression, value: bool, truth: bool
    ) -> _Places:
        if name not in {"=", "<>"}:
            return _EVERYWHERE
        return self.where(node, truth=((name == "=") is value) is truth)

    def _limited(self, value: Expression, wanted: Intervals) -> _Places:
        """Return where a number may lie in intervals."""
        if (number := constant(value)) is not None:
            return (
                _EVERYWHERE
                if wanted & Intervals.of([(number, number)])
                == Intervals.of([(number, number)])
                else _NOWHERE
            )
        inner, limits = solve(value, wanted)
        if self.position is not None and inner == bare(self.position.lon):
            return _Places(Zone(lon=limits))
        if self.position is not None and inner == bare(self.position.lat):
            return _Places(Zone(lat=limits))
        if (order := self._order(inner)) is not None:
            return _Places(ranges=numbered(order, limits))
        if self._is_chunk(inner):
            return _Places(ranges=in_chunks(limits))
        match inner:
            case Separation():
                return self._separated(inner, limits)
            case Case():
                return self._chosen(inner, limits)
            case _:
                return _EVERYWHERE

    def _chosen(self, node: Case, wanted: Intervals) -> _Places:
        """Return where a branch may be taken and its value may lie in intervals.

        Of the last we do not ask where the others are not taken: their conditions may
        be unknown there.
        """
        parts = [
            self.where(condition, truth=True) & self._limited(value, wanted)
            for condition, value in node.branches
        ]
        if node.default is not None:
            parts.append(self._limited(node.default, wanted))
        return _any(parts)

    def _separated(self, pair: Near | Separation, wanted: Intervals) -> _Places:
        """Return where a distance from a constant place may lie in intervals."""
        if (center := self._center(pair)) is None:
            return _EVERYWHERE
        rings = (wanted & _ANGLES).simplify(_MOST_RINGS).pairs
        if not rings:
            return _NOWHERE
        return _any(_ring(center, inner, outer) for inner, outer in rings)

    def _center(self, pair: Near | Separation) -> tuple[float, float] | None:
        """Return the constant place that the position is compared with."""
        if self._is_here(pair.first):
            other = pair.second
        elif self._is_here(pair.second):
            other = pair.first
        else:
            return None
        lon, lat = constant(other.lon), constant(other.lat)
        if lon is None or lat is None or abs(lat) > 90:
            return None
        return float(lon), float(lat)


def _ring(center: tuple[float, float], inner: float, outer: float) -> _Places:
    """Return where the distance from a place lies between two angles."""
    places = _EVERYWHERE
    if outer < _HALF_TURN:
        places &= _Places(ranges=_disc(*center, outer))
    if inner > 0:
        places &= _Places(ranges=Circle(*center, min(inner, _HALF_TURN)).outside())
    return places


@lru_cache(64)
def _disc(lon: float, lat: float, radius: float) -> RangeSet:
    """Cover a circle: a plan asks for it again and again."""
    return Circle(lon, lat, radius).cover()


def _all(parts: Iterable[_Places]) -> _Places:
    """Return the places that all parts hold."""
    both = _EVERYWHERE
    for part in parts:
        both &= part
        if both.is_empty:
            return _NOWHERE
    return both


def _any(parts: Iterable[_Places]) -> _Places:
    """Return the places that any part holds."""
    zones, covers = [], []
    for part in parts:
        if part.is_everywhere:
            return _EVERYWHERE
        if part.ranges is None:
            zones.append(part.zone)
        else:
            covers.append(part.cover())
    zones = list(_merged(zones))
    if len(zones) == 1 and not covers:
        return _Places(zones[0])
    if len(covers) == 1 and not zones:
        return _Places(ranges=covers[0])
    return _Places(ranges=united(*covers, *(zone.cover() for zone in zones)))


def _merged(zones: Iterable[Zone]) -> Iterable[Zone]:
    """Unite zones of equal latitudes, then those of equal longitudes."""
    by_lat: dict[Intervals, list[Intervals]] = {}
    for zone in zones:
        by_lat.setdefault(zone.lat, []).append(zone.lon)
    by_lon: dict[Intervals, list[Intervals]] = {}
    for lat, lons in by_lat.items():
        for lon in _united(lons, joined=lat == LATITUDES):
            by_lon.setdefault(lon, []).append(lat)
    for lon, lats in by_lon.items():
        yield from (Zone(lon, lat) for lat in _united(lats, joined=lon == LONGITUDES))


def _united(parts: list[Intervals], *, joined: bool) -> list[Intervals]:
    """Unite intervals, except many boxes in a row: each is covered better alone."""
    whole = Intervals.of(pair for part in parts for pair in part.pairs)
    return [whole] if joined or len(whole.pairs) <= _MOST_BOXES else parts
