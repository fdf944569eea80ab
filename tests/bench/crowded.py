"""Makes the files that the loading benchmark loads: a crowded sky, unsorted.

``Object`` has 19 columns and the density of a galaxy's plane, its rows in no order of
the sky; ``Source`` has 9 columns and four times the rows, in files by visit, so that
its keys are random. A file is made at a time: memory does not grow with the number.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BANDS = "ugrizy"
SOURCES_AN_OBJECT = 4
OBJECTS_A_FILE, SOURCES_A_FILE = 1_000_000, 2_500_000
VISITS_A_FILE = 50

SIDECAR = """\
tables:
  Object: {kind: director, key: objectId, position: [ra, dec]}
  Source: {kind: child, director: Object, key: objectId}
"""

# Galactic to equatorial, J2000.
_TO_EQUATOR = np.array(
    [
        [-0.0548755604, 0.4941094279, -0.8676661490],
        [-0.8734370902, -0.4448296300, -0.1980763734],
        [-0.4838350155, 0.7469822445, 0.4559837762],
    ]
)


def make(place: Path, objects: int) -> dict[str, list[Path]]:
    """Make the files where they are not there yet; return them by table."""
    there = place / f"crowded-{objects}"
    if not (there / "done").exists():
        there.mkdir(parents=True, exist_ok=True)
        positions = _write_objects(there, objects)
        _write_sources(there, *positions)
        (there / "crowded.sidecar.yaml").write_text(SIDECAR)
        (there / "done").touch()
    return {
        table: sorted(there.glob(f"{table}-*.parquet"))
        for table in ("Object", "Source")
    }


def sidecar(files: dict[str, list[Path]]) -> Path:
    """Return the sidecar of files that were made."""
    return files["Object"][0].parent / "crowded.sidecar.yaml"


def _pieces(total: int, size: int) -> list[tuple[int, int]]:
    return [(first, min(size, total - first)) for first in range(0, total, size)]


def _write_objects(place: Path, total: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    ids = rng.permutation(total)
    lon, lat = np.empty(total), np.empty(total)
    for first, count in _pieces(total, OBJECTS_A_FILE):
        ra, dec = _plane(rng, count)
        mine = ids[first : first + count]
        lon[mine], lat[mine] = ra, dec
        columns = {
            "objectId": mine.astype(np.int64),
            "ra": ra,
            "dec": dec,
            **{f"{band}Flux": _flux(rng, count) for band in BANDS},
            **{f"{band}FluxErr": _flux(rng, count, 10) for band in BANDS},
            "epoch": 60000 + rng.random(count) * 3650,
            "nSources": rng.poisson(SOURCES_AN_OBJECT, count).astype(np.int32),
            "class": rng.integers(0, 8, count).astype(np.int16),
            "extended": rng.random(count) < 0.3,
        }
        path = place / f"Object-{first:010}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=2**17)
    return lon, lat


def _write_sources(place: Path, lon: np.ndarray, lat: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    arcsec = 1 / 3600
    total = len(lon) * SOURCES_AN_OBJECT
    for number, (first, count) in enumerate(_pieces(total, SOURCES_A_FILE)):
        of = rng.integers(0, len(lon), count)
        visit = number * VISITS_A_FILE + np.arange(count) * VISITS_A_FILE // count
        columns = {
            "sourceId": np.arange(first, first + count),
            "objectId": of.astype(np.int64),
            "visit": visit.astype(np.int32),
            "band": (visit % len(BANDS)).astype(np.int16),
            "ra": (lon[of] + rng.normal(0, 0.1 * arcsec, count)) % 360,
            "dec": np.clip(lat[of] + rng.normal(0, 0.1 * arcsec, count), -90, 90),
            "flux": _flux(rng, count),
            "fluxErr": _flux(rng, count, 10),
            "mjd": 60000 + visit * 0.02 + rng.random(count) * 0.0003,
        }
        path = place / f"Source-{first:010}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=2**17)


def _flux(rng: np.random.Generator, count: int, scale: float = 1000) -> np.ndarray:
    return (rng.lognormal(0, 1.5, count) * scale).astype(np.float32)


def _plane(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ra and dec of stars: a disk, a bulge in it, and a fifth everywhere."""
    kind = rng.choice(3, count, p=(0.6, 0.2, 0.2))
    lon = np.where(kind == 1, rng.normal(0, 8, count), rng.uniform(-180, 180, count))
    thick = np.where(kind == 1, 4.0, 6.0)
    disk = np.clip(rng.laplace(0, 1, count) * thick, -90, 90)
    everywhere = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    lat = np.where(kind == 2, everywhere, disk)
    u, v = np.radians(lon), np.radians(lat)
    vectors = np.stack((np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)))
    x, y, z = _TO_EQUATOR @ vectors
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1)))
