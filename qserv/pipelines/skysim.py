"""What a survey measures of the stars: detections, and forced photometry at each star.

Noise follows the flux: the variance is that of the sky, which the visit's depth tells,
and of the star's own photons. Forced photometry measures each star in each visit that
covers it; a detection is made, or missed, by its measured S/N, and more often missed
at the edge of the field. Everything follows from one seed.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qserv.pipelines.survey import FILTERS, Cadence, Floats, Visits, flux, visits

Integers = npt.NDArray[np.int64]

_SOURCE: Final = [
    *("sourceId", "objectId", "visitId", "filterId"),
    *("ra", "dec", "posErr", "mjd", "psfFlux", "psfFluxErr"),
]

PHOTON: Final = 1.4e5
"""Variance of the photon noise per flux, nJy."""
THRESHOLD: Final = 5.0
"""S/N at which every second star is detected."""
VARIABLE: Final = 0.04
"""Share of the stars that vary."""


@dataclass(frozen=True, slots=True)
class Stars:
    """The true sky: aligned arrays, sorted by declination.

    Parameters
    ----------
    id
        Their objectId.
    ra, dec
        Degrees.
    direction
        Unit vectors, shape (n, 3).
    magnitude
        In each of `FILTERS`, shape (n, filters).
    amplitude, period, phase
        Of their sine-like variation: magnitudes, days, radians; most have amplitude 0.
    """

    id: Integers
    ra: Floats
    dec: Floats
    direction: Floats
    magnitude: Floats
    amplitude: Floats
    period: Floats
    phase: Floats

    @classmethod
    def of(cls, catalog: pa.Table, random: np.random.Generator) -> Self:
        """Take stars from a catalog like the Hipparcos sample.

        Parameters
        ----------
        catalog
            With columns objectId, ra, dec, Hpmag, B_V, V_I.
        random
            Decides which stars vary, and how.
        """
        catalog = catalog.sort_by([("dec", "ascending"), ("objectId", "ascending")])
        ra, dec = catalog["ra"].to_numpy(), catalog["dec"].to_numpy()
        stars = ra.size
        varies = random.random(stars) < VARIABLE
        return cls(
            id=catalog["objectId"].to_numpy(),
            ra=ra,
            dec=dec,
            direction=unit_vectors(ra, dec),
            magnitude=_magnitudes(catalog),
            amplitude=np.where(varies, 0.15 * random.lognormal(0.0, 0.7, stars), 0.0),
            period=np.exp(random.uniform(np.log(0.3), np.log(300.0), stars)),
            phase=random.uniform(0.0, 2 * np.pi, stars),
        )


def _magnitudes(catalog: pa.Table) -> Floats:
    hp, b_v, v_i = (
        catalog[name].to_numpy().astype(np.float64) for name in ("Hpmag", "B_V", "V_I")
    )
    redness = np.clip(b_v, -0.3, 2.0)
    # Hp - V is 0 for white stars, 0.13 at B-V = 0.7, and falls again for red ones.
    v = hp - 0.30 * redness + 0.17 * redness**2
    by_name = {"B": v + b_v, "V": v, "Hp": hp, "I": v - v_i}
    return np.stack([by_name[each.name] for each in FILTERS], axis=1)


def unit_vectors(ra: Floats, dec: Floats) -> Floats:
    """Turn positions in degrees into unit vectors, shape (n, 3)."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1
    )


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over the sky gave: rows of Visit, Source and ForcedSource."""

    visits: pa.Table
    sources: pa.Table
    forced_sources: pa.Table


def observe(stars: Stars, cadence: Cadence, number: int, seed: int) -> Pass:
    """Observe the whole sky once.

    Parameters
    ----------
    stars
        The true sky.
    cadence
        How the survey goes about it.
    number
        Which pass, from 0; each has random numbers of its own.
    seed
        Of the whole survey.
    """
    random = np.random.default_rng([seed, 1, number])
    plan = visits(cadence, number, random)
    visit, star, distance = covered(stars, plan, cadence.radius)
    edge = distance / cadence.radius
    measured, error = _photometry(stars, plan, visit, star, edge, random=random)
    rows: dict[str, npt.NDArray[Any]] = {
        "objectId": stars.id[star],
        "visitId": plan.id[visit],
        "filterId": np.full(star.size, plan.filter.id, np.int16),
        "psfFlux": measured,
        "psfFluxErr": error.astype(np.float32),
    }
    found = _detected(measured / error, edge, random)
    forced = pa.table(rows | {"detected": found})
    kept = {name: values[found] for name, values in rows.items()}
    snr = kept["psfFlux"] / kept["psfFluxErr"]
    where = _astrometry(stars, plan, visit[found], star[found], snr, random=random)
    sources = pa.table(where | kept).select(_SOURCE)
    return Pass(plan.table(), sources, forced)


def covered(
    stars: Stars, plan: Visits, radius: float
) -> tuple[Integers, Integers, Floats]:
    """Find every star in every visit that covers it.

    Parameters
    ----------
    stars
        Sorted by declination, so that a visit looks at a slice of them.
    plan
        The visits.
    radius
        Of the field of view, degrees.

    Returns
    -------
    tuple
        Aligned: visit index, star index, distance from the field's centre in degrees.
    """
    centers = unit_vectors(plan.ra, plan.dec)
    first = np.searchsorted(stars.dec, plan.dec - radius, "left")
    last = np.searchsorted(stars.dec, plan.dec + radius, "right")
    limit = np.cos(np.radians(radius))
    seen, cosines = [], []
    for center, low, high in zip(centers, first, last, strict=True):
        cosine = stars.direction[low:high] @ center
        inside = np.flatnonzero(cosine >= limit)
        seen.append(inside + low)
        cosines.append(cosine[inside])
    visit = np.repeat(np.arange(plan.id.size), [each.size for each in seen])
    distance = np.degrees(np.arccos(np.minimum(1.0, np.concatenate(cosines))))
    return visit, np.concatenate(seen), distance


def _photometry(
    stars: Stars,
    plan: Visits,
    visit: Integers,
    star: Integers,
    edge: Floats,
    *,
    random: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Return measured flux and its error, nJy."""
    angle = 2 * np.pi * plan.mjd[visit] / stars.period[star] + stars.phase[star]
    magnitude = stars.magnitude[star, FILTERS.index(plan.filter)]
    true = flux(magnitude + stars.amplitude[star] * np.sin(angle))
    # Vignetting takes light from the outer part of the field, so noise weighs more.
    throughput = 1 - 0.4 * np.clip(edge - 0.75, 0.0, None) / 0.25
    sky = flux(plan.depth[visit]) / THRESHOLD / throughput
    error = np.sqrt(sky**2 + PHOTON * true / throughput)
    return true + error * random.standard_normal(star.size), error


def _detected(
    snr: Floats, edge: Floats, random: np.random.Generator
) -> npt.NDArray[np.bool_]:
    by_snr = 1 / (1 + np.exp(-np.clip((snr - THRESHOLD) / 0.5, -50, 50)))
    by_place = np.where(edge > 0.97, 0.4, 0.985)
    found: npt.NDArray[np.bool_] = random.random(snr.size) < by_snr * by_place
    return found


def _astrometry(
    stars: Stars,
    plan: Visits,
    visit: Integers,
    star: Integers,
    snr: Floats,
    *,
    random: np.random.Generator,
) -> dict[str, npt.NDArray[Any]]:
    """Return id, position, its error (arcsec on the sky) and time of detections."""
    error = np.hypot(0.01, plan.seeing[visit] / 2.355 / snr)
    east, north = error * random.standard_normal((2, star.size)) / 3600
    dec = np.clip(stars.dec[star] + north, -90, 90)
    ra = (stars.ra[star] + east / np.cos(np.radians(stars.dec[star]))) % 360
    within = np.arange(star.size) - np.searchsorted(visit, visit)
    return {
        "sourceId": plan.id[visit] * 100_000 + within + 1,
        "ra": ra,
        "dec": dec,
        "posErr": error.astype(np.float32),
        "mjd": plan.mjd[visit],
    }
