"""Zones: places whose longitude and latitude lie in intervals, as SQL compares them.

``ra BETWEEN 10 AND 20 AND dec > 5`` bounds a box of meridians and parallels, which is
no polygon: parallels are not great circles. A stored longitude lies in [0, 360], so
`ra > 350` ends at the meridian 0, and nothing has a longitude below it.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from qserv.sky import healpix
from qserv.sky.healpix import SLACK, Floats, Pixels
from qserv.sky.intervals import Intervals, Pair
from qserv.sky.ranges import RangeSet
from qserv.sky.refine import Flags, refine, united

LONGITUDES: Final = Intervals(((0.0, 360.0),))
LATITUDES: Final = Intervals(((-90.0, 90.0),))

_COARSEST: Final = 3
"""Where a large zone begins: 768 pixels are no work."""
_FINE: Final = 6
"""The least order at which splitting may end: degrees are small among chunks."""
_FINEST: Final = 24
"""Pixels of 13 mas; what is smaller than that lies in one or a few of them."""
_CUT_PIXELS: Final = 1500
"""A zone's cover is refined until this many pixels lie on its border."""
_START_PIXELS: Final = 64
"""A zone inside a known area begins where that has no more pixels than this."""
_ACROSS: Final = 16
"""Pixels across the short side of a zone, at least, if the budget allows them."""
_MOST: Final = 32
"""Intervals of one coordinate; of more, the smallest gaps are filled."""


@dataclass(frozen=True, slots=True)
class Zone:
    """All places whose longitude and latitude lie in sets of intervals.

    Parameters
    ----------
    lon, lat
        Degrees. What leaves [0, 360] and [-90, 90] holds no place. The meridians 0 and
        360 are one, but a place has one of the two numbers: 0 unless it was rounded.
    """

    lon: Intervals = LONGITUDES
    lat: Intervals = LATITUDES

    def __post_init__(self) -> None:
        object.__setattr__(self, "lon", self.lon & LONGITUDES)
        object.__setattr__(self, "lat", self.lat & LATITUDES)

    @property
    def is_empty(self) -> bool:
        """Whether no place lies in it."""
        return self.lon.is_empty or self.lat.is_empty

    @property
    def is_everywhere(self) -> bool:
        """Whether every place lies in it."""
        return self.lon == LONGITUDES and self.lat == LATITUDES

    def __and__(self, other: "Zone") -> "Zone":
        return Zone(self.lon & other.lon, self.lat & other.lat)

    def cover(self, within: RangeSet | None = None) -> RangeSet:
        """Return pixels that hold the zone, as far as it lies in a known area.

        Parameters
        ----------
        within
            The known area; everything if it is None.

        Notes
        -----
        Pixels are taken for the disc about their centre that holds them, and that disc
        for the meridians and parallels that bound it: as wide as ``asin(sin(reach) /
        cos(lat))``, or all the way round if it holds a pole. So no pixel is missed that
        the zone comes close to (1 mas); rounding of a position is far below that.
        """
        area = RangeSet.everything() if within is None else within
        if self.is_empty or area.is_empty:
            return RangeSet.nothing()
        if self.is_everywhere:
            return area
        lon, lat = _arcs(self.lon.simplify(_MOST)), self.lat.simplify(_MOST).pairs
        order, pixels = self._start(lon, area)

        def sort(order: int, pixels: Pixels) -> tuple[Flags, Flags]:
            return _sorted(order, pixels, np.array(lon), np.array(lat))

        finest = _finest(lon, lat)
        parts = refine(order, pixels, sort, most=_CUT_PIXELS, finest=finest)
        cover = united(*parts)
        return cover if within is None else cover & within

    def _start(self, lon: tuple[Pair, ...], area: RangeSet) -> tuple[int, Pixels]:
        """Return pixels that hold the zone, not many more than it needs."""
        west, east = lon[0][0], lon[-1][1]
        south, north = self.lat.ends
        middle = (west + east) / 2, (south + north) / 2
        across = (east - west) / 2 * math.cos(math.radians(middle[1]))
        # Along the middle parallel, then along a meridian: a way to every place.
        order = healpix.order_wider_than(across + (north - south) / 2)
        if order > _COARSEST:
            here = healpix.pixels([middle[0]], [middle[1]], order)
            return order, healpix.grow(order, here)
        order = _COARSEST
        while order < _FINEST and area.touched(order + 1) <= _START_PIXELS:
            order += 1
        return order, area.pixels(order)


SKY: Final = Zone()
"""All places."""


def _arcs(lon: Intervals) -> tuple[Pair, ...]:
    """Join at the meridian 0 what ends at 360 with what begins at 0."""
    first, *rest = lon.pairs
    if rest and first[0] == 0 and rest[-1][1] == 360:
        return (*rest[:-1], (rest[-1][0], first[1] + 360))
    return lon.pairs


def _finest(lon: tuple[Pair, ...], lat: tuple[Pair, ...]) -> int:
    """Return the order at which enough pixels lie across the short side."""
    equator = max(0.0, lat[0][0], -lat[-1][1])
    height = min(north - south for south, north in lat)
    width = min(east - west for west, east in lon) * math.cos(math.radians(equator))
    across = max(min(height, width) / _ACROSS, SLACK)
    wanted = math.ceil(math.log2(healpix.min_width(0) / across))
    return max(_FINE, min(_FINEST, wanted))


def _sorted(
    order: int, pixels: Pixels, lon: Floats, lat: Floats
) -> tuple[Flags, Flags]:
    """Tell which pixels lie inside all the bounds, and which others touch them."""
    reach = healpix.max_radius(order) + SLACK
    here, there = healpix.center_positions(order, pixels)
    in_lat, by_lat = _along_meridian(there[:, np.newaxis], reach, lat)
    wide = _half_width(there, reach)
    in_lon, by_lon = _along_parallel(here[:, np.newaxis], wide[:, np.newaxis], lon)
    inside = in_lat & in_lon
    return inside, by_lat & by_lon & ~inside


def _along_meridian(here: Floats, reach: float, lat: Floats) -> tuple[Flags, Flags]:
    # Nothing lies beyond a pole: a zone that holds it goes on.
    south = np.where(lat[:, 0] <= -90, -np.inf, lat[:, 0])
    north = np.where(lat[:, 1] >= 90, np.inf, lat[:, 1])
    inside = (here - reach >= south) & (here + reach <= north)
    touched = (here + reach >= south) & (here - reach <= north)
    return np.asarray(inside.any(axis=1)), np.asarray(touched.any(axis=1))


def _half_width(lat: Floats, reach: float) -> Floats:
    """Return how far in longitude a disc at a latitude reaches: 180 about a pole."""
    polar = np.abs(lat) + reach >= 90
    across = np.cos(np.radians(np.where(polar, 0.0, lat)))
    ratio = math.sin(math.radians(min(reach, 90.0))) / across
    return np.where(polar, 180.0, np.degrees(np.arcsin(np.minimum(ratio, 1.0))))


def _along_parallel(here: Floats, wide: Floats, lon: Floats) -> tuple[Flags, Flags]:
    length = lon[:, 1] - lon[:, 0]
    past = np.mod(here - lon[:, 0], 360.0)
    whole = length >= 360
    inside = whole | ((past >= wide) & (past + wide <= length))
    touched = whole | (past <= length + wide) | (past >= 360 - wide)
    return np.asarray(inside.any(axis=1)), np.asarray(touched.any(axis=1))
