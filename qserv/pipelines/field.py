"""The release ``deep``: a dense synthetic field of galaxies, clusters and stars.

Four square degrees of sky with 300,000 objects, of which a good third crowd in
clusters, so that the leaves of its chunk tree are large where the field is thin and
small where it is dense.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from qserv.pipelines.produced import Produced

RELEASE: Final = "deep"
PIPELINE: Final = "field 1"
SEED: Final = 47

CENTER: Final = (150.1, 2.2)
"""RA and Dec of the middle of the field, degrees."""
SIDE: Final = 2.0
"""Of the square field, degrees."""
OBJECTS: Final = 300_000
CLUSTERS: Final = 60
CLUSTERED: Final = 0.35
"""Share of the objects that are in clusters."""
STARS: Final = 0.1
"""Share of the other objects that are stars."""
DEPTH: Final = {"g": 26.4, "r": 26.2, "i": 25.8, "z": 25.2}
"""Magnitude at S/N 5 in each band; what is fainter was not measured."""

_FIRST_ID: Final = 47_000_000_000

Floats = npt.NDArray[np.float64]


def objects(number: int = OBJECTS, seed: int = SEED) -> pa.Table:
    """Make the rows of Object.

    Parameters
    ----------
    number
        How many.
    seed
        The same seed gives the same rows.
    """
    random = np.random.default_rng(seed)
    cluster = _memberships(number, random)
    star = (cluster < 0) & (random.random(number) < STARS)
    x, y = _places(cluster, random)
    redshift = _redshifts(cluster, random)
    dec = CENTER[1] + y
    ra = CENTER[0] + x / np.cos(np.radians(dec))
    return pa.table(
        {
            "objectId": _FIRST_ID + random.permutation(number),
            "ra": ra,
            "dec": dec,
            **_photometry(redshift, star, cluster >= 0, random),
            "extendedness": np.where(star, 0.0, 1.0).astype(np.float32),
            "redshift": pa.array(redshift.astype(np.float32), mask=star),
        }
    )


def _memberships(number: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return each object's cluster, -1 for none; a few clusters are rich."""
    richness = random.pareto(1.1, CLUSTERS) + 0.3
    which = random.choice(CLUSTERS, number, p=richness / richness.sum())
    return np.where(random.random(number) < CLUSTERED, which, -1)


def _places(
    cluster: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return offsets from the middle of the field, degrees on the sky."""
    half = SIDE / 2
    place = random.uniform(-half, half, (2, cluster.size))
    middle = random.uniform(-0.85 * half, 0.85 * half, (2, CLUSTERS))
    core = random.uniform(0.5, 4.0, CLUSTERS) / 60
    # Radii of a Plummer sphere seen from outside: a dense core with wide wings.
    share = random.random(cluster.size) * 0.96
    radius = core[cluster] * np.sqrt(share / (1 - share))
    angle = random.uniform(0, 2 * np.pi, cluster.size)
    around = middle[:, cluster] + radius * np.array([np.cos(angle), np.sin(angle)])
    x, y = np.where(cluster >= 0, around, place)
    return x, y


def _redshifts(cluster: npt.NDArray[np.int64], random: np.random.Generator) -> Floats:
    own = random.gamma(2.5, 0.35, cluster.size)
    shared = random.uniform(0.1, 0.9, CLUSTERS)[cluster]
    scatter = 0.003 * random.standard_normal(cluster.size)
    return np.where(cluster >= 0, shared + scatter, own)


def _photometry(
    redshift: Floats,
    star: npt.NDArray[np.bool_],
    member: npt.NDArray[np.bool_],
    random: np.random.Generator,
) -> dict[str, pa.Array]:
    """Return magnitudes and their errors; NULL where an object is too faint."""
    number = redshift.size
    # Number counts double with each magnitude, from 17 to 26.
    r = 17 + np.log10(1 + random.random(number) * (10**2.7 - 1)) / 0.3
    color = np.where(star, random.gamma(4.0, 0.2, number), 0.4 + 0.5 * redshift)
    color = np.where(member, 0.7 + 1.2 * redshift, color)
    color += 0.08 * random.standard_normal(number)
    true = {"g": r + color, "r": r, "i": r - 0.5 * color, "z": r - 0.75 * color}
    columns: dict[str, pa.Array] = {}
    for band, magnitude in true.items():
        error = np.hypot(0.005, 0.2 * 10 ** (0.4 * (magnitude - DEPTH[band])))
        seen = magnitude + error * random.standard_normal(number)
        faint = seen > DEPTH[band]
        columns[f"{band}Mag"] = pa.array(seen.astype(np.float32), mask=faint)
        columns[f"{band}MagErr"] = pa.array(error.astype(np.float32), mask=faint)
    return columns


def produce(
    directory: Path, *, number: int = OBJECTS, seed: int = SEED
) -> dict[str, list[Path]]:
    """Make the field and write it as one Parquet file.

    Parameters
    ----------
    directory
        Where to write; made if need be.
    number
        How many objects.
    seed
        The same seed gives the same rows.

    Returns
    -------
    dict
        Table name -> its files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "Object.parquet"
    parquet.write_table(objects(number, seed), path)
    return {"Object": [path]}


load = Produced(RELEASE, PIPELINE).load
