"""Skies made to be hard: clumps of stars on every kind of border, from a seed."""

import healpy
import numpy as np
from scipy.spatial import cKDTree

from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree, chunk_id, order_of, pixel_of, pixel_range
from qserv.sky.regions import chord2

ARCSEC = 1 / 3600
POLES = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])


def mixed_tree(leaves, seed, max_order=8):
    """Split leaves at random, mostly what was split last, to enough leaves."""
    rng = np.random.default_rng(seed)
    found = [chunk_id(0, pixel) for pixel in range(12)]
    while len(found) < leaves:
        deep = int(rng.choice([len(found) - 1, rng.integers(len(found))]))
        order, pixel = order_of(found[deep]), pixel_of(found[deep])
        if order < max_order:
            del found[deep]
            found += [chunk_id(order + 1, 4 * pixel + i) for i in range(4)]
    return ChunkTree(np.array(sorted(found, key=pixel_range)))


def corners(order, pixels, step=1):
    """Points on the borders of pixels, 4 * step each, as unit vectors (n, 3)."""
    found = healpy.boundaries(2**order, np.atleast_1d(pixels), step=step, nest=True)
    return np.moveaxis(found, 1, 2).reshape(-1, 3)


def base_borders(rng, count):
    """Poles, corners of base pixels and points on their sides: in any tree borders."""
    meridian = np.column_stack(
        healpix.unit_vectors(np.zeros(6), np.array([89.99, 75, 45, -45, -75, -89.99]))
    )
    fixed = np.concatenate(
        (POLES, meridian, np.unique(corners(0, np.arange(12)).round(12), axis=0))
    )
    sides = corners(0, np.arange(12), step=64)
    return np.concatenate((fixed, rng.choice(sides, max(0, count - len(fixed)))))[
        :count
    ]


def leaf_borders(rng, tree, count):
    """Corners of leaves and points on their sides."""
    leaves = rng.choice(tree.chunks, count)
    return np.array(
        [
            rng.choice(corners(order_of(int(leaf)), pixel_of(int(leaf)), step))
            for leaf, step in zip(leaves, rng.choice([1, 256, 256], count), strict=True)
        ]
    )


def scattered(rng, centers, members, reach_deg):
    """Points within a distance of each centre, and the centres themselves."""
    across = rng.normal(size=(len(centers), members, 3))
    across -= (
        np.sum(across * centers[:, None], axis=2, keepdims=True) * centers[:, None]
    )
    across /= np.linalg.norm(across, axis=2, keepdims=True)
    angle = np.radians(reach_deg) * np.sqrt(rng.random((len(centers), members, 1)))
    angle[:, 0] = 0
    return moved(centers[:, None], across, angle).reshape(-1, 3)


def moved(points, directions, angles):
    """Points moved along great circles; angles in radians, directions perpendicular."""
    return points * np.cos(angles) + directions * np.sin(angles)


def positions(vectors):
    """Longitude in [0, 360) and latitude of vectors (n, 3), degrees."""
    x, y, z = vectors.T
    lon = np.degrees(np.arctan2(y, x)) % 360.0
    return np.where(lon < 360, lon, 0.0), np.degrees(np.arctan2(z, np.hypot(x, y)))


def border_sky(
    tree, *, clumps=60, members=36, background=2000, radius_arcsec=60, seed=0
):
    """Make a sky of clumps on borders: half in any tree, half in this one.

    For each of three sizes (a twelfth of the radius, half of it, all of it) there are
    `clumps` clumps of `members` stars. Returns objectId, ra and dec in degrees.
    """
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(background, 3))]
    for part in (1 / 12, 1 / 2, 1):
        centers = np.concatenate(
            (base_borders(rng, clumps // 2 + 1), leaf_borders(rng, tree, clumps // 2))
        )
        reach = radius_arcsec * ARCSEC * part
        parts.append(scattered(rng, centers, members, reach))
    ra, dec = positions(np.concatenate(parts))
    return {"objectId": rng.permutation(len(ra)) + 1, "ra": ra, "dec": dec}


def kdtree_pairs(ra, dec, radius_deg):
    """All pairs (i < j) of rows within a radius, shape (n, 2): the truth."""
    x, y, z = healpix.unit_vectors(ra, dec)
    limit = chord2(radius_deg)
    tree = cKDTree(np.column_stack((x, y, z)))
    pairs = tree.query_pairs(np.sqrt(limit) * (1 + 1e-9) + 1e-15, output_type="ndarray")
    i, j = np.sort(pairs, axis=1).T
    d2 = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2 + (z[i] - z[j]) ** 2
    near = d2 <= limit
    return np.column_stack((i[near], j[near]))


def cross_border(pairs, homes):
    """How many pairs have their rows in two chunks, `homes` being each row's."""
    return int(np.sum(homes[pairs[:, 0]] != homes[pairs[:, 1]]))
