"""Shapes on the sky for tests of regions: polygons at random, points along them."""

import math

import numpy as np
from hypothesis import strategies as st
from support.skies import ARCSEC, positions
from support.strategies import from_here, sky

from qserv.sky import healpix
from qserv.sky.ranges import SPHERE

EVERYWHERE = healpix.centers(6, np.arange(12 * 4**6))
angles = st.one_of(
    st.sampled_from([0.0, ARCSEC, 60 * ARCSEC, 90.0, 180.0]),
    st.floats(-9, 2.25).map(lambda power: min(180.0, 10.0**power)),
)


def around(position, bearing, angle):
    """Where each bearing and angle lead from one position."""
    lon, lat = (np.full(len(angle), float(p)) for p in position)
    return from_here(lon, lat, bearing, angle)


def ring(center, bearing, radius):
    """Vertices about a centre."""
    lon, lat = around(center, bearing, np.broadcast_to(radius, np.shape(bearing)))
    return tuple(zip(lon.tolist(), lat.tolist(), strict=True))


sizes = st.one_of(
    st.sampled_from([1e-7, ARCSEC, 1.0]),
    st.floats(-7, 1.9).map(lambda power: min(60.0, 10.0**power)),
)
# At least 0.1 rad between two vertices: no side so short that only rounding sees it.
spread = st.lists(st.integers(0, 62), min_size=3, max_size=9, unique=True).map(
    lambda steps: np.sort(steps) / 10
)


@st.composite
def convex(draw):
    """A convex polygon with its vertices on a circle, in either winding."""
    size, turns = draw(sizes), draw(spread)
    vertices = ring(draw(sky), turns[:: draw(st.sampled_from([1, -1]))], size)
    return vertices, size


@st.composite
def stars(draw):
    """A star: vertices in order of bearing, at different distances: often concave."""
    turns, size = np.arange(draw(st.integers(3, 8))), draw(sizes)
    far = st.sampled_from([0.05, 0.3, 1.0])
    reach = draw(st.lists(far, min_size=len(turns), max_size=len(turns)))
    return ring(draw(sky), turns / len(turns) * 2 * np.pi, size * np.array(reach)), size


def vectors(vertices):
    return np.column_stack(healpix.unit_vectors(*np.array(vertices).T))


def along_sides(vertices, count=40):
    """Points on the sides of a polygon, its vertices included, as unit vectors."""
    start = vectors(vertices)[:, None]
    part = np.linspace(0, 1, count)[None, :, None]
    points = start + part * (np.roll(start, -1, axis=0) - start)
    return (points / np.linalg.norm(points, axis=2, keepdims=True)).reshape(-1, 3)


def pixels_of(points):
    return healpix.pixels(*positions(points))


def ends_of(area):
    """Centres of the first and last order-29 pixel of each range: its border."""
    ends = np.concatenate((area.bounds[:, 0], area.bounds[:, 1] - 1))
    return positions(healpix.centers(29, ends))


def area_of(ranges):
    """The solid angle of ranges, steradians."""
    pixels = np.sum(ranges.bounds[:, 1] - ranges.bounds[:, 0])
    return float(pixels) / SPHERE * 4 * math.pi
