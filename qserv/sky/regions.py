"""Regions of the sky: which rows they hold, exactly, and which pixels they touch.

A region has two faces. `contains` is the exact test, made on stored unit vectors; SQL
makes the same one. `cover` is a superset in HEALPix ranges that only prunes. A cover
never misses a pixel that the region touches, its border included.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from qserv.errors import InvalidRequest, UnsupportedQuery
from qserv.sky import healpix
from qserv.sky.healpix import SLACK, Floats, Pixels
from qserv.sky.ranges import RangeSet
from qserv.sky.refine import Flags, refine, united

Vector = tuple[float, float, float]
Frame = tuple[Vector, Vector, Vector, tuple[tuple[float, float], ...]]

_COARSEST: Final = 3
"""The order of a hemisphere's cover: 768 pixels are no work."""
_FINEST: Final = 24
"""Pixels of 13 mas; what is smaller than that lies in one or a few of them."""
_EDGE_PIXELS: Final = 256
"""A polygon's cover is refined until this many pixels lie on its border."""
_DILATED_PIXELS: Final = 1024
"""An area is dilated at an order where it has no more pixels than this."""
_WIDE: Final = 1.0
"""Circles wider than this are worth a finer cover: chunks are not much larger."""
_HALF: Final = 90.0
"""The radius of a hemisphere."""
_FAR_SLACK: Final = 20e-3 / 3600
"""Degrees by which a distance test may err near a half turn, where chords are flat."""
_WIDEST: Final = 89.0
"""How far a polygon's vertices may lie from its centre, degrees."""


def chord2(radius: float) -> float:
    """Return the squared chord of an angle: the right side of every distance test.

    Points are within `radius` of each other when the squared distance of their unit
    vectors is at most this.

    Parameters
    ----------
    radius
        Degrees, from 0 to 180.

    Raises
    ------
    InvalidRequest
        If the radius is not from 0 to 180.
    """
    if not 0 <= radius <= 180:
        raise InvalidRequest(f"a radius must be from 0 to 180 degrees, not {radius}")
    chord = 2 * math.sin(math.radians(radius) / 2)
    # Everything is within 180 degrees, also an antipode whose vector is rounded up.
    return chord**2 if radius < 180 else 4.0 + 1e-9


def _vector(lon: float, lat: float) -> Vector:
    x, y, z = healpix.unit_vectors(np.array([lon]), np.array([lat]))
    return float(x[0]), float(y[0]), float(z[0])


def _order_for(radius: float) -> int:
    """Return the order at which about 4 pixels lie across a radius."""
    across = healpix.min_width(0) / max(radius / 4, SLACK)
    return max(_COARSEST, min(_FINEST, math.ceil(math.log2(across))))


@dataclass(frozen=True, slots=True)
class Circle:
    """All points within a radius of a centre, the border included.

    Parameters
    ----------
    lon, lat
        The centre, degrees; any finite longitude is taken modulo 360.
    radius
        Degrees, from 0 to 180.

    Raises
    ------
    InvalidRequest
        If the centre is not on the sky or the radius not from 0 to 180.
    """

    lon: float
    lat: float
    radius: float
    center: Vector = field(init=False, repr=False, compare=False)
    """The centre as a unit vector, made as stored unit vectors are made."""

    def __post_init__(self) -> None:
        chord2(self.radius)
        object.__setattr__(self, "center", _vector(self.lon, self.lat))

    def cover(self) -> RangeSet:
        """Return pixels that hold the circle."""
        order = _order_for(self.radius)
        if self.radius > _WIDE:
            return united(*self._sorted(order + 2))
        found = healpix.disc(self.lon, self.lat, self.radius, order)
        return RangeSet.from_pixels(order, found)

    def outside(self) -> RangeSet:
        """Return pixels that hold everything outside the circle, and its border."""
        if self.radius > _HALF:
            # What is far from the centre is near the antipode.
            radius = min(_HALF, 180.0 - self.radius + _FAR_SLACK)
            return Circle(self.lon % 360.0 + 180.0, -self.lat, radius).cover()
        inside, _ = self._sorted(_FINEST)
        return RangeSet.everything() - inside

    def _sorted(self, finest: int) -> tuple[RangeSet, RangeSet]:
        """Return pixels inside, and those that the border may pass."""
        order = _order_for(self.radius)
        pixels = healpix.disc(self.lon, self.lat, self.radius, order)

        def sort(order: int, pixels: Pixels) -> tuple[Flags, Flags]:
            offset = healpix.centers(order, pixels) - np.array(self.center)
            d2 = np.sum(offset**2, axis=1)
            reach = healpix.max_radius(order) + SLACK
            inside = d2 < chord2(max(0.0, self.radius - reach))
            return inside, ~inside & (d2 < chord2(min(180.0, self.radius + reach)))

        return refine(order, pixels, sort, most=_EDGE_PIXELS, finest=finest)

    def contains(self, x: Floats, y: Floats, z: Floats) -> Flags:
        """Tell for each unit vector whether it is in the circle."""
        cx, cy, cz = self.center
        d2 = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        return np.asarray(d2 <= chord2(self.radius))


@dataclass(frozen=True, slots=True)
class Polygon:
    """The inside of great-circle sides: the smaller side, whatever the winding.

    It may be concave. Where sides cross each other, the even-odd rule says what is
    inside. See `contains` for the exact test.

    Parameters
    ----------
    vertices
        Pairs (longitude, latitude) in degrees; the last is joined to the first.

    Raises
    ------
    InvalidRequest
        If a vertex is not on the sky, or fewer than 3 of them differ.
    UnsupportedQuery
        If a vertex lies more than 89 degrees from the centre.
    """

    vertices: tuple[tuple[float, float], ...]
    _frame: Frame = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_frame", _frame_of(_corners(self.vertices)))

    def frame(self) -> Frame:
        """Return what the exact test needs.

        Returns
        -------
        center, east, north
            Unit vectors: the mean of the sides, and the axes of the plane there.
        plane
            The vertices (u, v) in the gnomonic plane that touches at the centre, where
            great circles are straight lines.
        """
        return self._frame

    def contains(self, x: Floats, y: Floats, z: Floats) -> Flags:
        """Tell for each unit vector whether it is in the polygon.

        With w, u, v the products of the vector with center, east and north, u and v
        divided by w: a point is inside when w > 0 and an odd number of the sides
        (u1, v1) to (u2, v2) have ``(v1 > v) <> (v2 > v)`` and
        ``u < u1 + (v - v1) * ((u2 - u1) / (v2 - v1))``. SQL computes the same. So a
        point on the border belongs to one of two polygons that share the side in one
        frame, never to both.
        """
        center, east, north, plane = self._frame
        w = x * center[0] + y * center[1] + z * center[2]
        ahead = w > 0
        w = np.where(ahead, w, 1.0)
        u = (x * east[0] + y * east[1] + z * east[2]) / w
        v = (x * north[0] + y * north[1] + z * north[2]) / w
        inside = np.zeros(np.shape(w), dtype=np.bool_)
        for (u1, v1), (u2, v2) in zip(plane, plane[1:] + plane[:1], strict=True):
            if v1 != v2:
                slope = (u2 - u1) / (v2 - v1)
                inside ^= ((v1 > v) != (v2 > v)) & (u < u1 + (v - v1) * slope)
        return np.asarray(inside & ahead)

    def cover(self) -> RangeSet:
        """Return pixels that hold the polygon and its border.

        Notes
        -----
        Starts from the disc around all vertices. A pixel that touches the polygon has
        its centre inside, or a side passes within the pixel's radius of its centre:
        else the way from the centre to the touching point would cross a side farther
        away than it is long. Pixels near a side are split until there are many.
        """
        return united(*self._sorted())

    def outside(self) -> RangeSet:
        """Return pixels that hold everything outside the polygon, and its border."""
        inside, _ = self._sorted()
        return RangeSet.everything() - inside

    def _sorted(self) -> tuple[RangeSet, RangeSet]:
        """Return pixels inside, and those that a side passes."""
        corners = _corners(self.vertices)
        order, pixels = _disc_around(np.array(self._frame[0]), corners)

        def sort(order: int, pixels: Pixels) -> tuple[Flags, Flags]:
            centers = healpix.centers(order, pixels)
            reach = healpix.max_radius(order) + SLACK
            edge = _near_sides(centers, corners, chord2(min(reach, 180.0)))
            return self.contains(*centers.T) & ~edge, edge

        return refine(order, pixels, sort, most=_EDGE_PIXELS, finest=_FINEST)


def box(lon: float, lat: float, width: float, height: float) -> Polygon:
    """Return ADQL's BOX: four great-circle sides about a centre.

    In the gnomonic plane that touches at the centre it is the rectangle
    ``|u| <= tan(width / 2)``, ``|v| <= tan(height / 2)``.

    Parameters
    ----------
    lon, lat
        The centre, degrees.
    width, height
        Degrees between opposite sides, through the centre.

    Raises
    ------
    InvalidRequest
        If the centre is not on the sky, or a side is not more than 0 degrees.
    UnsupportedQuery
        If the box does not fit well into a hemisphere.
    """
    if not (width > 0 and height > 0):
        raise InvalidRequest(
            f"a box needs a width and height above 0, not {width} and {height} degrees"
        )
    if not (width < 180 and height < 180):
        raise UnsupportedQuery(
            f"a box of {width} by {height} degrees does not fit into a hemisphere: "
            "split it"
        )
    center = np.array(_vector(lon, lat))
    east, north = _axes(center, math.radians(lon))
    u = math.tan(math.radians(width / 2)) * east
    v = math.tan(math.radians(height / 2)) * north
    corners = [center + i * u + j * v for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return Polygon(tuple(_position(corner) for corner in corners))


def dilate(ranges: RangeSet, radius: float) -> RangeSet:
    """Return a superset of every point within a radius of an area.

    Parameters
    ----------
    ranges
        The area.
    radius
        Degrees; 0 returns the area as it is.

    Raises
    ------
    InvalidRequest
        If the radius is not 0 or more.

    Notes
    -----
    The area's pixels, at an order where they are wider than the radius
    (`healpix.min_width`), and all their neighbours.
    """
    if not radius >= 0:
        raise InvalidRequest(f"an area is dilated by 0 degrees or more, not {radius}")
    if radius == 0 or ranges.is_empty:
        return ranges
    order = healpix.order_wider_than(radius)
    if order < 0:
        return RangeSet.everything()
    while order > 0 and ranges.touched(order) > _DILATED_PIXELS:
        order -= 1
    return RangeSet.from_pixels(order, healpix.grow(order, ranges.pixels(order)))


def _corners(vertices: tuple[tuple[float, float], ...]) -> Floats:
    """Return the vertices as unit vectors, shape (n, 3)."""
    lon, lat = np.array(vertices, dtype=np.float64).reshape(-1, 2).T
    corners = np.column_stack(healpix.unit_vectors(lon, lat))
    if len(np.unique(corners, axis=0)) < 3:
        raise InvalidRequest("a polygon needs at least 3 vertices that differ")
    return corners


def _frame_of(corners: Floats) -> Frame:
    following = np.roll(corners, -1, axis=0)
    length = np.linalg.norm(following - corners, axis=1)
    # The mean of the sides: vertices added along a side do not move it.
    center = np.sum(length[:, None] * (corners + following), axis=0)
    size = math.hypot(*center)
    center = center / size if size > 0 else center
    w = _dot(corners, center)
    if not np.all(w >= math.cos(math.radians(_WIDEST))):
        raise UnsupportedQuery(
            f"a polygon whose vertices lie more than {_WIDEST:.0f} degrees from its "
            "centre is not answered yet: split it"
        )
    east, north = _axes(center, math.atan2(center[1], center[0]))
    plane = zip(_dot(corners, east) / w, _dot(corners, north) / w, strict=True)
    return (
        _tuple(center),
        _tuple(east),
        _tuple(north),
        tuple((float(u), float(v)) for u, v in plane),
    )


def _dot(points: Floats, axis: Floats) -> Floats:
    """Multiply as SQL does: BLAS rounds by the processor that it finds."""
    return np.asarray(np.sum(points * axis, axis=-1))


def _tuple(vector: Floats) -> Vector:
    x, y, z = vector.tolist()
    return x, y, z


def _axes(center: Floats, turn: float) -> tuple[Floats, Floats]:
    """Return the directions east and north at a centre of that longitude (radians)."""
    east = np.array([-math.sin(turn), math.cos(turn), 0.0])
    return east, np.cross(center, east)


def _position(vector: Floats) -> tuple[float, float]:
    """Return longitude and latitude of a vector of any length, degrees."""
    x, y, z = vector.tolist()
    return (
        math.degrees(math.atan2(y, x)) % 360.0,
        math.degrees(math.atan2(z, math.hypot(x, y))),
    )


def _disc_around(center: Floats, corners: Floats) -> tuple[int, Pixels]:
    """Return an order and its pixels that cover the disc through the far corner."""
    chord = float(np.max(np.linalg.norm(corners - center, axis=1)))
    radius = math.degrees(2 * math.asin(min(1.0, chord / 2)))
    order = _order_for(radius)
    return order, healpix.disc(*_position(center), radius, order)


def _near_sides(points: Floats, corners: Floats, reach2: float) -> Flags:
    """Tell which points lie within a chord (squared) of a polygon's sides."""
    following = np.roll(corners, -1, axis=0)
    near = np.zeros(len(points), dtype=np.bool_)
    for start, end in zip(corners, following, strict=True):
        offset = points - start
        near |= np.sum(offset**2, axis=1) <= reach2
        # From the difference: the vectors of a short side are almost parallel.
        normal = np.cross(start, end - start)
        if (size := np.linalg.norm(normal)) > 0:
            normal /= size
            between = (points @ np.cross(normal, start) >= 0) & (
                points @ np.cross(end, normal) >= 0
            )
            near |= between & ((offset @ normal) ** 2 <= reach2)
    return near
