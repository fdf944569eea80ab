"""The one door to healpy: pixels, their centres, their neighbours, their widths.

Pixels are HEALPix NESTED. A position becomes a pixel once, at order 29; its pixel at a
coarser order is a shift of that, never a second look-up. healpy is imported when it is
first needed, because it is slow to import.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from qserv.errors import InvalidRequest

ORDER: Final = 29
"""The order of the pixels that positions become and that ranges count."""

Pixels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SLACK: Final = 1e-3 / 3600
"""One milliarcsecond in degrees: far above rounding, far below any radius we store."""

_STEEPEST: Final = math.sqrt(6 / math.pi**2 + 3 / 2)
"""The steepest slope of a base pixel's coordinate; see `min_width`."""


def min_width(order: int) -> float:
    """Return a lower bound of how wide the pixels of an order are, in degrees.

    Every point within this distance of a point of a pixel P lies in P or in one of its
    at most 8 neighbours.

    Notes
    -----
    In each of the 12 base pixels the pixels of an order are squares of side
    ``2**-order`` in two coordinates a, b that run over [0, 1]. Let f be, on the ring
    of P's neighbours, the larger of the distances from P in a and in b. f is continuous
    (on the edge that two neighbours share, both measure along that edge, also where
    only three base pixels meet), 0 on P and ``2**-order`` on the outer border of the
    ring. So a path from P to beyond the ring is at least ``2**-order / S`` long, where
    S is the steepest slope that a or b has on the unit sphere.

    From the HEALPix projection (Górski et al. 2005), with s = cos²(latitude), in the
    equatorial zone (s from 5/9 to 1)::

        |grad a|² = (4/π²) / s + (9/16) s                      <= 1.05

    and in the polar caps, with u = (2 - σ²/3)/3, σ² = 3 (1 - |sin(latitude)|) from
    0 to 1, and τ from 0 to 1 across a quarter turn in longitude::

        |grad a|² = (4/π²) / u + (9/4) u τ²                    <= 6/π² + 3/2

    where u = 2/3 (at the pole) and τ = 1 are the worst case. Hence S² = 6/π² + 3/2, and
    the bound is 39.46 degrees / 2**order.
    """
    return math.degrees(1 / _STEEPEST) * 0.5**order


def order_wider_than(radius: float) -> int:
    """Return the finest order whose pixels are surely wider than a radius.

    Parameters
    ----------
    radius
        Degrees; `SLACK` is added to it.

    Returns
    -------
    int
        An order from 0 to 29, or -1 if even the base pixels are too narrow.
    """
    wide_enough = math.floor(math.log2(min_width(0) / (radius + SLACK)))
    return max(-1, min(ORDER, wide_enough))


def check_positions(lon: Floats, lat: Floats) -> None:
    """Refuse positions that are not on the sphere.

    Raises
    ------
    InvalidRequest
        If a longitude is not finite or a latitude is not within ±90 degrees; names the
        first such position.
    """
    # A comparison with NaN is false, so the negation also catches NaN.
    bad = ~np.isfinite(lon) | ~(np.abs(lat) <= 90)
    if np.any(bad):
        lon, lat, bad = np.broadcast_arrays(lon, lat, bad)
        worst = int(np.flatnonzero(bad)[0])
        raise InvalidRequest(
            f"position {worst + 1} of {bad.size} is not on the sky: longitude "
            f"{lon.flat[worst]}, latitude {lat.flat[worst]} degrees; longitudes must "
            "be finite, latitudes within ±90"
        )


_WHOLE_TURN: Final = 360.0 - 1e-11
"""Degrees; what lies beyond is 4e-8 arcsec from the meridian 0."""


def pixels(lon: npt.ArrayLike, lat: npt.ArrayLike, order: int = ORDER) -> Pixels:
    """Return the NESTED pixel of each position.

    Parameters
    ----------
    lon, lat
        Degrees; any finite longitude is taken modulo 360.
    order
        0 to 29.

    Raises
    ------
    InvalidRequest
        If a position is not on the sky.
    """
    import healpy

    lon, lat = _positions(lon, lat)
    # healpy puts 359.99999999999994 into the base pixel before: take it for 0.
    lon = np.where(lon > _WHOLE_TURN, 0.0, lon)
    fine = healpy.ang2pix(2**ORDER, lon, lat, nest=True, lonlat=True)
    return np.asarray(fine, dtype=np.int64) >> 2 * (ORDER - order)


def _positions(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    check_positions(lon, lat)
    # Most are in [0, 360), and the remainder is dear.
    inside = np.all((lon >= 0) & (lon < 360))
    return lon + 0.0 if inside else np.mod(lon, 360.0), lat


def unit_vectors(
    lon: npt.ArrayLike, lat: npt.ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Return the unit vectors (x, y, z) of positions.

    Parameters
    ----------
    lon, lat
        Degrees; any finite longitude is taken modulo 360.

    Raises
    ------
    InvalidRequest
        If a position is not on the sky.
    """
    lon, lat = _positions(lon, lat)
    turn = np.radians(lon)
    # Not cos(lat): a pole then has x = y = 0 exactly, whatever its longitude.
    across = np.sin(np.radians(90.0 - np.abs(lat)))
    return across * np.cos(turn), across * np.sin(turn), np.sin(np.radians(lat))


def center_vectors(order: int, pixels: Pixels) -> tuple[Floats, Floats, Floats]:
    """Return the centres of pixels as unit vectors (x, y, z)."""
    import healpy

    x, y, z = healpy.pix2vec(2**order, pixels, nest=True)
    return x, y, z


def centers(order: int, pixels: Pixels) -> Floats:
    """Return the centres of pixels as unit vectors, shape (n, 3)."""
    return np.stack(center_vectors(order, pixels), axis=-1)


def separations(vectors: Floats, others: Floats) -> Floats:
    """Return the angles between pairs of unit vectors, shapes (n, 3), in degrees."""
    half_chord = np.linalg.norm(vectors - others, axis=-1) / 2
    return np.asarray(np.degrees(2 * np.arcsin(np.minimum(half_chord, 1))))


def center_positions(order: int, pixels: Pixels) -> tuple[Floats, Floats]:
    """Return longitude and latitude of the centres of pixels, degrees."""
    import healpy

    lon, lat = healpy.pix2ang(2**order, pixels, nest=True, lonlat=True)
    return np.asarray(lon, np.float64), np.asarray(lat, np.float64)


def max_radius(order: int) -> float:
    """Return how far a pixel's points lie from its centre at most, in degrees."""
    import healpy

    return float(healpy.max_pixrad(2**order, degrees=True))


def neighbours(order: int, pixels: npt.ArrayLike) -> Pixels:
    """Return the pixels that share a side or a corner with each pixel.

    Returns
    -------
    array of int64, shape (n, 8)
        Where fewer pixels meet at a corner, -1 stands for the missing one.
    """
    import healpy

    flat = np.asarray(pixels, dtype=np.int64).reshape(-1)
    found = healpy.get_all_neighbours(2**order, flat, nest=True)
    return np.asarray(found, dtype=np.int64).T


def children(pixels: Pixels) -> Pixels:
    """Return the four pixels, one order finer, of which each pixel consists."""
    return (4 * pixels[:, np.newaxis] + np.arange(4)).reshape(-1)


def grow(order: int, pixels: Pixels) -> Pixels:
    """Return pixels with all their neighbours, sorted and distinct."""
    ring = neighbours(order, pixels).reshape(-1)
    return np.unique(np.concatenate((pixels, ring[ring >= 0])))


def disc(lon: float, lat: float, radius: float, order: int) -> Pixels:
    """Return pixels that cover a closed disc: no pixel that it touches is missed.

    Parameters
    ----------
    lon, lat, radius
        Degrees; radius from 0 to 180.
    order
        0 to 27: healpy tests for touching two orders deeper.

    Returns
    -------
    array of int64
        Sorted.

    Notes
    -----
    Up to 90 degrees this is healpy's inclusive cover, grown by a border pixel. Beyond,
    healpy (1.20) loses whole base pixels, so each pixel is tested: one that touches the
    disc has its centre within radius and pixel radius.
    """
    import healpy

    center = np.stack(unit_vectors(lon, lat))
    reach = math.radians(radius + SLACK)
    if radius > 90:
        every = np.arange(12 * 4**order, dtype=np.int64)
        farthest = math.cos(min(math.pi, reach + math.radians(max_radius(order))))
        # The tolerance is for the rounding of a cosine near -1.
        return every[centers(order, every) @ center >= farthest - 1e-15]
    found = healpy.query_disc(2**order, center, reach, inclusive=True, nest=True)
    return grow(order, np.asarray(found, dtype=np.int64))
