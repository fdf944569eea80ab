"""Hypothesis strategies for the sky: by preference the places where code breaks."""

import numpy as np
from hypothesis import strategies as st
from support.skies import corners, positions

from qserv.sky import healpix

_BASE = positions(np.unique(corners(0, np.arange(12)).round(12), axis=0))

uniform_positions = st.tuples(
    st.floats(0, 360), st.floats(-1, 1).map(lambda z: float(np.degrees(np.arcsin(z))))
)
poles = st.tuples(st.floats(0, 360), st.sampled_from([90.0, -90.0]))
seam = st.tuples(st.sampled_from([0.0, 360.0, 1e-13, 360 - 1e-13]), st.floats(-90, 90))
base_corners = st.sampled_from(
    [(float(lon), float(lat)) for lon, lat in zip(*_BASE, strict=True)]
)


@st.composite
def pixel_corners(draw):
    """The corner of some pixel, or a point on its side."""
    order = draw(st.integers(0, 12))
    lon, lat = draw(uniform_positions)
    pixel = healpix.pixels([lon], [lat], order)
    found = positions(corners(order, pixel, step=draw(st.sampled_from([1, 8]))))
    which = draw(st.integers(0, len(found[0]) - 1))
    return float(found[0][which]), float(found[1][which])


sky = st.one_of(uniform_positions, poles, seam, base_corners, pixel_corners())
"""A position (longitude, latitude) in degrees."""

bearings = st.one_of(
    st.sampled_from(np.linspace(0, 2 * np.pi, 8, endpoint=False).tolist()),
    st.floats(0, 2 * np.pi),
)
"""A direction on the sky in radians."""


def from_here(lon, lat, bearing, angle_deg):
    """The position at an angle from another, along great circles; arrays broadcast."""
    here = np.stack(np.broadcast_arrays(*healpix.unit_vectors(lon, lat)), axis=-1)
    turn = np.radians(lon)
    east = np.stack(
        np.broadcast_arrays(-np.sin(turn), np.cos(turn), np.zeros_like(turn)), axis=-1
    )
    north = np.cross(here, east)
    bearing, angle = np.asarray(bearing)[..., None], np.radians(angle_deg)[..., None]
    way = north * np.cos(bearing) + east * np.sin(bearing)
    there = here * np.cos(angle) + way * np.sin(angle)
    return positions(there.reshape(-1, 3))
