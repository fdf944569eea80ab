import math
import subprocess
import sys

import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.skies import ARCSEC, corners
from support.strategies import bearings, from_here, sky

from qserv.errors import InvalidRequest
from qserv.sky import healpix


def ways_out(order, width, count=40_000):
    """How many steps of a width, from pixel borders, end beyond the neighbours."""
    rng = np.random.default_rng(order)
    some = rng.integers(0, 12 * 4**order, count)
    starts = corners(order, some, step=4)[
        rng.integers(0, 16, count) + 16 * np.arange(count)
    ]
    lon, lat = healpy.vec2ang(starts, lonlat=True)
    lat = np.clip(lat, -90, 90)
    there = from_here(lon, lat, rng.uniform(0, 2 * np.pi, count), np.full(count, width))
    home, end = healpix.pixels(lon, lat, order), healpix.pixels(*there, order)
    around = healpix.neighbours(order, home)
    return int(np.sum((end != home) & ~np.any(around == end[:, None], axis=1)))


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5, 8, 11])
def test_no_step_of_the_safe_width_leaves_the_neighbours(order):
    assert ways_out(order, healpix.min_width(order)) == 0


@pytest.mark.parametrize("order", [2, 5, 11])
def test_a_wider_bound_would_be_false(order):
    assert ways_out(order, 1.5 * healpix.min_width(order)) > 0


@settings(deadline=None)
@given(sky, bearings, st.integers(0, 20), st.floats(0, 1))
def test_the_safe_width_holds_at_the_hard_places(position, bearing, order, part):
    lon, lat = np.array([position[0]]), np.array([position[1]])
    there = from_here(lon, lat, [bearing], part * healpix.min_width(order) * (1 - 1e-9))
    ring = healpix.grow(order, healpix.pixels(lon, lat, order))
    assert healpix.pixels(*there, order)[0] in ring


def test_order_wider_than_is_the_finest_that_is_wide_enough():
    for radius in (0.0, 5 * ARCSEC, 60 * ARCSEC, 1.0, 39.0):
        order = healpix.order_wider_than(radius)
        assert healpix.min_width(order) >= radius + healpix.SLACK
        assert healpix.min_width(order + 1) < radius + healpix.SLACK
    assert healpix.order_wider_than(60 * ARCSEC) == 11
    assert healpix.order_wider_than(40.0) == healpix.order_wider_than(180.0) == -1


@pytest.mark.parametrize("order", [0, 1, 2, 4, 6])
def test_no_point_of_a_pixel_is_farther_than_max_radius(order):
    every = np.arange(12 * 4**order)
    border = corners(order, every, step=16).reshape(len(every), -1, 3)
    chord = np.linalg.norm(border - healpix.centers(order, every)[:, None], axis=2)
    angle = np.degrees(2 * np.arcsin(chord.max() / 2))
    assert angle <= healpix.max_radius(order) + 1e-9


@settings(deadline=None)
@given(sky, st.integers(0, 28))
def test_a_coarser_pixel_is_a_shift_and_longitude_wraps(position, order):
    lon, lat = position
    fine = healpix.pixels([lon, lon + 720, lon - 720], [lat] * 3)
    turned = healpix.pixels([lon], [lat], order)[0]
    assert turned == fine[0] >> 2 * (29 - order)
    # Adding whole turns rounds the longitude by less than a micro-arcsecond.
    close = healpix.grow(24, fine[:1] >> 10)
    assert np.isin(fine >> 10, close).all()


def astray():
    """How many places just before longitude 360 lie in no pixel beside it.

    They are at and about the corner of three base pixels, step by step.
    """
    lat = math.degrees(math.asin(2 / 3)) + np.arange(-40, 40) * np.spacing(41.0)
    lat = np.concatenate((lat, -lat))
    before = healpix.pixels(np.full(len(lat), np.nextafter(360, 0)), lat, 8)
    beside = healpix.grow(8, healpix.pixels(np.zeros(len(lat)), lat, 8))
    return int(np.sum(~np.isin(before, beside)))


def test_just_before_the_meridian_is_beside_it(monkeypatch):
    assert astray() == 0
    monkeypatch.setattr(healpix, "_WHOLE_TURN", 360.0)
    assert astray() > 0


def test_poles_and_seam_have_exact_vectors():
    x, y, z = healpix.unit_vectors([0, 123.4, 360, -360], [90, -90, 0, 0])
    assert x.tolist() == [0, 0, 1, 1]
    assert y.tolist() == [0, 0, 0, 0]
    assert z.tolist() == [1, -1, 0, 0]


@pytest.mark.parametrize(
    ("lon", "lat"),
    [(0, 90.0000001), (0, -91), (0, np.nan), (np.nan, 0), (np.inf, 0), (0, -np.inf)],
)
def test_a_position_off_the_sky_is_named(lon, lat):
    for function in (healpix.pixels, healpix.unit_vectors):
        with pytest.raises(InvalidRequest, match="position 2 of 3 is not on the sky"):
            function([1, lon, 2], [1, lat, 2])


def test_neighbours_of_a_corner_where_three_base_pixels_meet():
    assert (healpix.neighbours(0, [0]) < 0).sum() == 2
    assert sorted(healpix.grow(0, np.array([0]))) == [0, 1, 2, 3, 4, 5, 8]


def test_importing_the_sky_loads_no_heavy_library():
    code = (
        "import sys, qserv.sky.ranges, qserv.sky.chunking, qserv.sky.regions\n"
        "print({'healpy', 'mocpy', 'astropy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
