"""A simulated survey: its filters, and when it looks where.

A small telescope in orbit covers the whole sky again and again: each pass has one
filter, and tiles the sphere with overlapping round fields.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]

NANOJANSKY_AT_ZERO: Final = 3631e9
"""Flux of magnitude 0 in the AB system, nJy."""

EXPOSURE: Final = 30.0
OVERHEAD: Final = 20.0
"""Seconds of a visit with the shutter open, and between two visits."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter.

    Parameters
    ----------
    id, name
        Number and name.
    wavelength, width
        Of its band, nm.
    depth
        Magnitude that a typical visit sees at S/N 5.
    """

    id: int
    name: str
    wavelength: float
    width: float
    depth: float


FILTERS: Final = (
    Filter(1, "B", 440.0, 95.0, 9.3),
    Filter(2, "V", 550.0, 85.0, 8.6),
    Filter(3, "Hp", 530.0, 220.0, 8.7),
    Filter(4, "I", 810.0, 150.0, 7.9),
)


@dataclass(frozen=True, slots=True)
class Cadence:
    """How the survey goes about the sky.

    Parameters
    ----------
    passes
        How often the whole sky is covered, with one filter after the other.
    radius
        Of the field of view, degrees.
    start
        MJD of the first visit.
    interval
        Days between the starts of two passes.
    """

    passes: int = 16
    radius: float = 3.5
    start: float = 60_310.0
    interval: float = 41.0


@dataclass(frozen=True, slots=True)
class Visits:
    """Visits of one pass, aligned arrays; angles in degrees, seeing in arcsec."""

    id: npt.NDArray[np.int64]
    ra: Floats
    dec: Floats
    mjd: Floats
    seeing: Floats
    depth: Floats
    filter: Filter

    def table(self) -> pa.Table:
        """Return the visits as rows of the table Visit."""
        return pa.table(
            {
                "visitId": self.id,
                "ra": self.ra,
                "dec": self.dec,
                "filterId": np.full(self.id.size, self.filter.id, np.int16),
                "mjd": self.mjd,
                "exposure": np.full(self.id.size, EXPOSURE, np.float32),
                "seeing": self.seeing.astype(np.float32),
                "depth": self.depth.astype(np.float32),
            }
        )


def filter_table() -> pa.Table:
    """Return the filters as rows of the table Filter."""
    return pa.table(
        {
            "filterId": pa.array([each.id for each in FILTERS], pa.int16()),
            "name": [each.name for each in FILTERS],
            "wavelength": pa.array([f.wavelength for f in FILTERS], pa.float32()),
            "width": pa.array([each.width for each in FILTERS], pa.float32()),
        }
    )


def visits(cadence: Cadence, number: int, random: np.random.Generator) -> Visits:
    """Plan the visits of one pass.

    Parameters
    ----------
    cadence
        How the survey goes about the sky.
    number
        Which pass, from 0.
    random
        Where its fields lie along their rings, and its weather, come from.
    """
    ra, dec = _tiles(cadence.radius, random)
    band = FILTERS[number % len(FILTERS)]
    seeing = 2.5 * random.lognormal(0.0, 0.15, ra.size)
    stray_light = random.exponential(0.08, ra.size)
    seconds = np.arange(ra.size) * (EXPOSURE + OVERHEAD) + EXPOSURE / 2
    return Visits(
        id=np.int64(number + 1) * 100_000 + np.arange(1, ra.size + 1),
        ra=ra,
        dec=dec,
        mjd=cadence.start + number * cadence.interval + seconds / 86_400,
        seeing=seeing,
        depth=band.depth - 2.5 * np.log10(seeing / 2.5) - stray_light,
        filter=band,
    )


def _tiles(radius: float, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Cover the sphere with fields, in rings of equal declination.

    Field centres of a ring are at most as far apart as rings are, so that no point is
    farther from one than the half diagonal of that square, which is below the radius.
    """
    rings = int(np.ceil(180 / (radius * np.sqrt(2) * 0.99)))
    step = 180 / rings
    ra, dec = [], []
    for ring in range(rings):
        middle = -90 + (ring + 0.5) * step
        widest = np.cos(np.radians(max(0.0, abs(middle) - step / 2)))
        fields = max(3, int(np.ceil(360 * widest / step)))
        ra.append((np.arange(fields) + random.random()) * 360 / fields % 360)
        dec.append(np.full(fields, middle))
    return np.concatenate(ra), np.concatenate(dec)


def flux(magnitude: Any) -> Any:
    """Turn AB magnitudes into fluxes in nJy."""
    return NANOJANSKY_AT_ZERO * 10 ** (-0.4 * magnitude)
