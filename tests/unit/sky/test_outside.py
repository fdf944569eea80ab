import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shapes import (
    EVERYWHERE,
    along_sides,
    angles,
    area_of,
    around,
    convex,
    ends_of,
    pixels_of,
    stars,
    vectors,
)
from support.skies import positions
from support.strategies import bearings, sky

from qserv.sky import healpix
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import Circle, Polygon, box


@settings(deadline=None)
@given(sky, angles, bearings)
def test_what_is_outside_a_circle_is_in_the_cover_of_that(center, radius, bearing):
    circle = Circle(*center, radius)
    outside = circle.outside()
    close = np.array([radius, radius * (1 + 1e-12), radius + 1e-8, radius * 1.1])
    border = around(center, np.full(4, bearing), np.minimum(close, 180))
    lon, lat = (
        np.concatenate(parts)
        for parts in zip(border, positions(EVERYWHERE), ends_of(outside), strict=True)
    )
    beyond = ~circle.contains(*healpix.unit_vectors(lon, lat))
    beyond[:4] = True
    if radius < 180:
        assert outside.contains(healpix.pixels(lon[beyond], lat[beyond])).all()


def test_the_far_side_errs_more_where_chords_are_flat():
    # A test on squared chords near 4 cannot tell angles apart that differ by 6 mas.
    circle = Circle(40, 30, 180 - 1e-9)
    near = around((220, -30), np.linspace(0, 7, 500), np.full(500, 2e-6))
    beyond = ~circle.contains(*healpix.unit_vectors(*near))
    pixels = healpix.pixels(*near)
    assert circle.outside().contains(pixels[beyond]).all()
    assert Circle(40, 30, 180).outside().contains(healpix.pixels([220], [-30])).all()


@settings(deadline=None, max_examples=60)
@given(st.one_of(convex(), stars()))
def test_what_is_outside_a_polygon_is_in_the_cover_of_that(shape):
    vertices, size = shape
    polygon = Polygon(vertices)
    outside = polygon.outside()
    rng = np.random.default_rng(4)
    points = vectors(vertices)[rng.integers(len(vertices), size=2000)]
    points = points + rng.normal(scale=math.radians(size), size=points.shape)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.concatenate((points, EVERYWHERE, along_sides(vertices)))
    beyond = ~polygon.contains(*points.T)
    assert outside.contains(pixels_of(points[beyond])).all()


@pytest.mark.parametrize("size", [1e-4, 1 / 60, 1.0, 30.0])
def test_most_of_a_region_is_not_in_the_cover_of_its_outside(size):
    half = math.radians(size / 2)
    solid = 2 * math.pi * (1 - math.cos(half)), 4 * math.asin(math.sin(half) ** 2)
    regions_ = Circle(83, 22, size / 2), box(83, 22, size, size)
    for region, steradians in zip(regions_, solid, strict=True):
        left_out = RangeSet.everything() - region.outside()
        assert 0.7 * steradians < area_of(left_out) < steradians


def test_outside_a_large_circle_is_a_small_one():
    assert area_of(Circle(83, 22, 179).outside()) < 2 * area_of(
        Circle(263, -22, 1).cover()
    )
