import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import sky

from qserv.sky import healpix, zones
from qserv.sky.intervals import Intervals
from qserv.sky.ranges import SPHERE, RangeSet
from qserv.sky.regions import Circle
from qserv.sky.zones import LATITUDES, LONGITUDES, SKY, Zone

sizes = st.one_of(
    st.sampled_from([0.0, 1e-13, 1 / 3600, 1 / 60, 1.0, 90.0, 360.0]),
    st.floats(-9, 2.5).map(lambda power: 10.0**power),
)


def share(ranges):
    """Which part of the sky is in ranges."""
    return float(np.sum(ranges.bounds[:, 1] - ranges.bounds[:, 0])) / SPHERE


def interval(low, high):
    return Intervals.of([(low, high)])


def inside(zone, count=12):
    """Points of a zone: its corners, its sides, and some between."""
    rng = np.random.default_rng(1)

    def some(intervals):
        parts = [
            np.clip(
                np.concatenate(
                    ([low, high], np.nextafter([low, high], [high, low])),
                )
                if step == 0
                else low + (high - low) * rng.random(count),
                low,
                high,
            )
            for low, high in intervals.pairs
            for step in (0, 1)
        ]
        return np.concatenate(parts)

    lon, lat = np.meshgrid(some(zone.lon), some(zone.lat))
    return lon.reshape(-1), lat.reshape(-1)


@st.composite
def zone_of_some_size(draw):
    (lon, lat), width, height = draw(sky), draw(sizes), draw(sizes)
    lons = [(lon - width / 2, lon + width / 2)]
    lats = [(lat - height / 2, lat + height / 2)]
    if draw(st.booleans()):
        lons += [(lon - width / 2 + turn, lon + width / 2 + turn) for turn in (360, 90)]
    if draw(st.booleans()):
        lats.append((-lat, -lat + height))
    return Zone(Intervals.of(lons), Intervals.of(lats))


@settings(deadline=None, max_examples=300)
@given(zone_of_some_size())
def test_the_cover_of_a_zone_misses_no_place_in_it(zone):
    if zone.is_empty:
        assert zone.cover().is_empty
        return
    cover = zone.cover()
    assert cover.contains(healpix.pixels(*inside(zone))).all()
    assert len(cover) <= 4 * zones._CUT_PIXELS


@settings(deadline=None)
@given(zone_of_some_size(), sky, st.floats(0, 30))
def test_within_an_area_only_that_is_covered(zone, center, radius):
    area = Circle(*center, radius).cover()
    found = zone.cover(area)
    assert (found - area).is_empty
    if not zone.is_empty:
        pixels = healpix.pixels(*inside(zone))
        assert found.contains(pixels[area.contains(pixels)]).all()


def test_covers_without_their_border_would_miss_some(monkeypatch):
    zone = Zone(interval(10, 11), interval(20, 21))
    pixels = healpix.pixels(*inside(zone, count=400))
    assert zone.cover().contains(pixels).all()
    monkeypatch.setattr(zones, "SLACK", 0.0)
    monkeypatch.setattr(zones.healpix, "max_radius", lambda order: 0.0)
    assert not zone.cover().contains(pixels).all()


@pytest.mark.parametrize("lat", [0.0, 60.0, -89.0])
@pytest.mark.parametrize("size", [1 / 3600, 1 / 60, 1.0])
def test_a_small_box_is_covered_as_tightly_as_a_cone(lat, size):
    width = size / math.cos(math.radians(lat))
    lats = interval(lat - size, lat + size)
    zone = Zone(interval(83 - width, 83 + width), lats)
    assert share(zone.cover()) < 1.2 * share(Circle(83, lat, size).cover())
    assert len(zone.cover()) <= 100


@pytest.mark.parametrize(
    ("zone", "wanted"),
    [
        (Zone(lat=interval(-90, 0)), 1 / 2),
        (Zone(lat=interval(-30, 30)), 1 / 2),
        (Zone(lon=interval(90, 180)), 1 / 4),
        (Zone(Intervals.of([(0, 45), (315, 360)]), interval(0, 90)), 1 / 8),
        (Zone(lat=interval(89, 90)), (1 - math.sin(math.radians(89))) / 2),
    ],
)
def test_a_large_zone_is_not_covered_much_larger(zone, wanted):
    assert wanted <= share(zone.cover()) < 1.2 * wanted


def test_a_box_over_the_first_meridian_is_one_box():
    wrapped = Zone(Intervals.of([(0, 0.5), (359.5, 360)]), interval(-0.5, 0.5))
    whole = Zone(interval(180, 181), interval(-0.5, 0.5))
    assert share(wrapped.cover()) < 1.1 * share(whole.cover())


def test_zones_of_one_place_and_of_one_meridian():
    one = Zone(interval(10.5, 10.5), interval(3, 3)).cover()
    assert one.contains(healpix.pixels([10.5], [3]))
    assert share(one) < 1e-15
    meridian = Zone(lon=interval(10.5, 10.5)).cover()
    lat = np.linspace(-90, 90, 1000)
    assert meridian.contains(healpix.pixels(np.full(1000, 10.5), lat)).all()
    assert share(meridian) < 0.01


def test_a_pole_has_every_longitude():
    caps = Zone(interval(10, 20), interval(89.9, 90)).cover()
    assert caps.contains(healpix.pixels(np.arange(10.0, 21), np.full(11, 90.0))).all()
    assert share(caps) < 1e-7


def test_what_leaves_the_sky_holds_no_place():
    assert Zone(lon=interval(-9, -1)).is_empty
    assert Zone(lat=interval(91, 99)).cover().is_empty
    assert Zone(interval(-9, 999), interval(-100, 100)) == SKY
    assert SKY.is_everywhere
    assert SKY.cover() == RangeSet.everything()
    assert SKY.cover(RangeSet.nothing()).is_empty
    assert Zone() & Zone(lat=interval(1, 2)) == Zone(LONGITUDES, interval(1, 2))
    assert SKY.lat == LATITUDES


def test_many_intervals_are_covered_coarsely_but_completely():
    points = np.linspace(5, 300, 1000)
    zone = Zone(Intervals.of((p, p) for p in points.tolist()), interval(1, 1.1))
    cover = zone.cover()
    assert cover.contains(healpix.pixels(points, np.full(1000, 1.05))).all()
