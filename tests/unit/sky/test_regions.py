import math

import healpy
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
    ring,
    stars,
    vectors,
)
from support.skies import ARCSEC
from support.strategies import bearings, from_here, sky

from qserv.errors import InvalidRequest, UnsupportedQuery
from qserv.sky import healpix, regions
from qserv.sky.ranges import RangeSet
from qserv.sky.regions import Circle, Polygon, box, chord2, dilate


@settings(deadline=None)
@given(sky, angles)
def test_the_cover_of_a_circle_misses_no_pixel_it_touches(center, radius):
    rng = np.random.default_rng(1)
    part = np.concatenate((np.ones(200), np.sqrt(rng.random(200)), [0, 1e-9]))
    bearing = np.concatenate((np.linspace(0, 2 * np.pi, 200), rng.random(202) * 7))
    touched = healpix.pixels(*around(center, bearing, part * radius))
    assert Circle(*center, radius).cover().contains(touched).all()


def test_a_cover_by_pixel_centres_would_miss_some(monkeypatch):
    def centres_only(lon, lat, radius, order):
        x, y, z = healpix.unit_vectors(lon, lat)
        inside = healpy.query_disc(2**order, (x, y, z), np.radians(radius), nest=True)
        return np.asarray(inside)

    border = around((10, 20), np.linspace(0, 2 * np.pi, 200), np.full(200, 1.0))
    touched = healpix.pixels(*border)
    assert Circle(10, 20, 1).cover().contains(touched).all()
    monkeypatch.setattr(healpix, "disc", centres_only)
    assert not Circle(10, 20, 1).cover().contains(touched).all()


@pytest.mark.parametrize("radius", [1e-5, 1 / 60, 1, 10])
def test_the_cover_of_a_circle_is_not_much_larger(radius):
    cover = Circle(83.6, 22.0, radius).cover()
    outside = np.full(500, 2.5 * radius)
    ring = around((83.6, 22.0), np.linspace(0, 2 * np.pi, 500), outside)
    assert not cover.contains(healpix.pixels(*ring)).any()
    assert len(cover) <= 64


@pytest.mark.parametrize("radius", [1.5, 10, 45, 100])
def test_the_cover_of_a_wide_circle_is_not_half_larger(radius):
    solid = 2 * math.pi * (1 - math.cos(math.radians(radius)))
    assert solid < area_of(Circle(83.6, 22.0, radius).cover()) < 1.3 * solid


@settings(deadline=None)
@given(sky, bearings, angles)
def test_a_circle_is_closed(center, bearing, radius):
    close = np.array([radius * (1 - 1e-9), radius * (1 + 1e-6) + 1e-6])
    inside, outside = Circle(*center, radius).contains(
        *healpix.unit_vectors(*around(center, [bearing] * 2, np.minimum(close, 180)))
    )
    assert inside or radius < 1e-4
    assert not outside or radius > 179.99


@settings(deadline=None)
@given(sky)
def test_circles_of_no_size_and_of_the_whole_sphere(center):
    here = healpix.unit_vectors(*([c] for c in center))
    there = [-part for part in here]
    assert Circle(*center, 0).contains(*here)[0]
    assert Circle(*center, 180).contains(*here)[0]
    assert Circle(*center, 180).contains(*there)[0]
    assert not Circle(*center, 179).contains(*there)[0]
    assert Circle(*center, 180).cover() == RangeSet.everything()


def test_a_circle_of_nearly_the_whole_sphere_keeps_its_far_side():
    # healpy 1.20 loses the base pixel about (180, 0) from this cover.
    cover = Circle(0, 0, 150).cover()
    border = around((0, 0), np.linspace(0, 2 * np.pi, 100), np.full(100, 150.0))
    assert cover.contains(healpix.pixels(*border)).all()
    assert not cover.contains(healpix.pixels([180], [0])).any()


def test_chord2_is_the_squared_distance_of_unit_vectors():
    assert chord2(0) == 0
    assert chord2(60) == pytest.approx(1, rel=1e-15)
    assert chord2(90) == pytest.approx(2, rel=1e-15)
    assert chord2(ARCSEC) == pytest.approx(math.radians(ARCSEC) ** 2, rel=1e-10)


def test_regions_off_the_sky_are_refused():
    for radius in (-1e-9, 180.1, math.nan, math.inf):
        with pytest.raises(InvalidRequest, match="radius must be from 0 to 180"):
            Circle(0, 0, radius)
    for make in (
        lambda: Circle(0, 90.1, 1),
        lambda: Circle(math.nan, 0, 1),
        lambda: Polygon(((0, 0), (1, 0), (0, -90.1))),
        lambda: box(0, 91, 1, 1),
    ):
        with pytest.raises(InvalidRequest, match="not on the sky"):
            make()


# Polygons


def half_spaces(corners, points):
    """Whether points are in a convex polygon, by the great circles of its sides."""
    following = np.roll(corners, -1, axis=0)
    side = points @ np.cross(corners, following).T
    return np.all(side >= 0, axis=1) | np.all(side <= 0, axis=1)


def inside_of(polygon, count=2000):
    """Points in the polygon, found by chance in the disc about it."""
    rng = np.random.default_rng(2)
    center, east, north, plane = polygon.frame()
    low, high = np.min(plane, axis=0), np.max(plane, axis=0)
    u, v = (low + (high - low) * rng.random((count, 2))).T
    points = center + u[:, None] * np.array(east) + v[:, None] * np.array(north)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[polygon.contains(*points.T)]


@settings(deadline=None, max_examples=60)
@given(st.one_of(convex(), stars()))
def test_the_cover_of_a_polygon_misses_no_pixel_it_touches(shape):
    vertices, _ = shape
    polygon = Polygon(vertices)
    points = np.concatenate((along_sides(vertices), inside_of(polygon)))
    cover = polygon.cover()
    assert cover.contains(pixels_of(points)).all()
    assert len(cover) <= 700


def test_a_polygon_cover_without_its_sides_would_miss_some(monkeypatch):
    vertices = ((350.0, -5.0), (10.0, -5.0), (10.0, 5.0), (0.0, 1.0), (350.0, 5.0))
    touched = pixels_of(along_sides(vertices))
    assert Polygon(vertices).cover().contains(touched).all()
    monkeypatch.setattr(
        regions, "_near_sides", lambda points, *_: np.zeros(len(points), dtype=bool)
    )
    assert not Polygon(vertices).cover().contains(touched).all()


@settings(deadline=None, max_examples=60)
@given(convex())
def test_a_convex_polygon_holds_what_its_great_circles_bound(shape):
    vertices, size = shape
    rng = np.random.default_rng(3)
    middle = np.sum(vectors(vertices), axis=0)
    points = middle / np.linalg.norm(middle) + rng.normal(
        scale=math.radians(size), size=(500, 3)
    )
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.concatenate((points, EVERYWHERE[::7]))
    corners = vectors(vertices)
    # Left of all sides or right of all is also the antipodal polygon. The polygon lies
    # in the cap whose border its vertices are on.
    cap = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    cap *= np.sign(cap @ corners[0])
    wanted = half_spaces(corners, points) & (points @ cap > 0)
    side = points @ np.cross(corners, np.roll(corners, -1, axis=0) - corners).T
    clear = np.abs(side).min(axis=1) > 1e-15
    assert np.array_equal(Polygon(vertices).contains(*points.T)[clear], wanted[clear])


def test_winding_and_wrap_and_first_vertex_do_not_matter():
    vertices = ((350.0, -5.0), (10.0, -5.0), (10.0, 5.0), (0.0, 1.0), (350.0, 5.0))
    polygon = Polygon(vertices)
    same = [
        vertices[::-1],
        vertices[2:] + vertices[:2],
        tuple((lon - 360, lat) for lon, lat in vertices),
        (*vertices, vertices[0]),
    ]
    inside = polygon.contains(*EVERYWHERE.T)
    assert inside.sum() > 100
    for other in same:
        assert np.array_equal(Polygon(other).contains(*EVERYWHERE.T), inside)


def contains(polygon, *places):
    lon, lat = np.array(places, dtype=float).T
    return polygon.contains(*healpix.unit_vectors(lon, lat)).tolist()


def test_a_concave_polygon_leaves_its_notch_out():
    arrow = Polygon(((0, 0), (10, 0), (10, 10), (5, 2), (0, 10)))
    assert contains(arrow, (5, 1), (1, 5), (9, 5), (5, 5), (5, 9), (-1, 5)) == (
        [True, True, True, False, False, False]
    )


def test_crossing_sides_follow_the_even_odd_rule():
    turns = np.arange(5) * 2 * 2 * np.pi / 5
    pentagram = Polygon(ring((120, -40), turns, 10))
    assert contains(pentagram, (120, -40), (120, -31)) == [False, True]


def test_a_polygon_about_a_pole_holds_the_pole():
    cap = Polygon(((0, 80), (90, 80), (180, 80), (270, 80)))
    assert contains(cap, (0, 90), (45, 85), (45, 81), (0, 79), (0, -90)) == (
        [True, True, False, False, False]
    )


def test_the_frame_is_the_gnomonic_plane():
    center, east, north, plane = box(30, 0, 20, 10).frame()
    assert center == pytest.approx(vectors([(30, 0)])[0])
    assert east == pytest.approx(vectors([(120, 0)])[0])
    assert north == pytest.approx((0, 0, 1))
    u, v = math.tan(math.radians(10)), math.tan(math.radians(5))
    assert np.array(plane) == pytest.approx(
        np.array([[-u, -v], [u, -v], [u, v], [-u, v]])
    )


@settings(deadline=None)
@given(sky, st.floats(1e-6, 120), st.floats(1e-6, 120))
def test_a_box_ends_half_its_width_and_height_from_its_centre(center, width, height):
    bearing = np.array([0, 90, 180, 270] * 2) * np.pi / 180
    half = np.array([height, width] * 4) / 2
    part = np.repeat([1 - 1e-6, 1 + 1e-6], 4)
    lon, lat = around(center, bearing, half * part)
    inside = box(*center, width, height).contains(*healpix.unit_vectors(lon, lat))
    assert inside.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize(
    "vertices",
    [
        ((0, 0), (120, 0), (240, 0)),
        ((0, -60), (120, -60), (240, -60), (60, 60)),
        ((0, 0), (100, 0), (200, 0), (100, 1)),
        ((0, 0), (180, 0), (90, 45), (90, -45)),
    ],
)
def test_a_polygon_wider_than_a_hemisphere_is_refused(vertices):
    with pytest.raises(UnsupportedQuery, match="more than 89 degrees"):
        Polygon(vertices)


def test_polygons_and_boxes_that_are_none_are_refused():
    for vertices in (
        (),
        ((1, 1), (2, 2)),
        ((1, 1), (2, 2), (361, 1), (2, 2)),
        ((0, 90), (50, 90), (0, 0)),
    ):
        with pytest.raises(InvalidRequest, match="at least 3 vertices that differ"):
            Polygon(vertices)
    for width in (0, -1, math.nan):
        with pytest.raises(InvalidRequest, match="width and height above 0"):
            box(0, 0, width, 1)
    with pytest.raises(UnsupportedQuery, match="does not fit into a hemisphere"):
        box(0, 0, 180, 1)
    with pytest.raises(UnsupportedQuery, match="more than 89 degrees"):
        box(0, 0, 179, 179)


# Dilation


@settings(deadline=None)
@given(sky, angles, st.floats(-7, 2.2).map(lambda power: 10.0**power))
def test_dilation_reaches_every_point_within_the_radius(center, size, radius):
    area = Circle(*center, size).cover()
    lon, lat = (np.repeat(part, 16) for part in ends_of(area))
    bearing = np.tile(np.arange(16) / 8 * np.pi, len(lon) // 16)
    there = from_here(lon, lat, bearing, np.full(len(lon), radius))
    assert dilate(area, radius).contains(healpix.pixels(*there)).all()


def test_dilation_by_nothing_and_of_nothing():
    area = Circle(10, 10, 1).cover()
    assert dilate(area, 0) == area
    assert dilate(RangeSet.nothing(), 5).is_empty
    assert dilate(area, 180) == RangeSet.everything()
    assert dilate(RangeSet.everything(), 1) == RangeSet.everything()
    for radius in (-1, math.nan):
        with pytest.raises(InvalidRequest, match="0 degrees or more"):
            dilate(area, radius)


def test_dilation_is_not_much_wider_than_the_radius():
    area = Circle(10, 10, 1).cover()
    ring_around = around((10, 10), np.linspace(0, 7, 300), np.full(300, 6.0))
    assert not dilate(area, 0.5).contains(healpix.pixels(*ring_around)).any()
