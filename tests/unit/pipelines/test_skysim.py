"""What the survey measures follows from what is there, and from its seed."""

import numpy as np
import pytest

from qserv.pipelines import hipparcos
from qserv.pipelines.skysim import Stars, covered, observe, unit_vectors
from qserv.pipelines.survey import FILTERS, Cadence, flux, visits

CADENCE = Cadence(passes=4)


@pytest.fixture(scope="module")
def catalog():
    return hipparcos.sample()


@pytest.fixture(scope="module")
def stars(catalog):
    return Stars.of(catalog, np.random.default_rng(0))


@pytest.fixture(scope="module")
def first(stars):
    return observe(stars, CADENCE, 0, seed=1)


def test_the_sample_is_the_real_sky(catalog):
    assert catalog.num_rows == 117_955
    sky = {row["objectId"]: row for row in catalog.to_pylist()}
    assert sky[11767]["dec"] == pytest.approx(89.26414, abs=1e-5)
    assert sky[91262]["ra"] == pytest.approx(279.23411, abs=1e-5)
    assert sky[70890]["parallax"] == pytest.approx(771.64, abs=1e-2)


@pytest.mark.parametrize("radius", [2.0, 3.5, 7.0])
def test_every_point_of_the_sky_is_in_some_field(radius):
    random = np.random.default_rng(5)
    points = random.standard_normal((20_000, 3))
    points = np.vstack([points, [[0, 0, 1], [0, 0, -1]]])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    plan = visits(Cadence(radius=radius), 0, random)
    nearest = (points @ unit_vectors(plan.ra, plan.dec).T).max(axis=1)
    assert np.degrees(np.arccos(nearest.min())) < radius


def test_a_visit_covers_exactly_the_stars_in_its_field(stars):
    plan = visits(CADENCE, 0, np.random.default_rng(3))
    visit, star, distance = covered(stars, plan, 3.5)
    chosen = np.random.default_rng(4).choice(plan.id.size, 60, replace=False)
    for each in {0, plan.id.size - 1, *chosen}:
        center = unit_vectors(plan.ra[each : each + 1], plan.dec[each : each + 1])
        angle = np.degrees(np.arccos(np.clip(stars.direction @ center[0], -1, 1)))
        assert set(star[visit == each]) == set(np.flatnonzero(angle <= 3.5))
        assert distance[visit == each] == pytest.approx(angle[star[visit == each]])


def test_every_star_is_measured_in_every_pass(first, catalog):
    measured = first.forced_sources["objectId"].unique()
    assert set(measured.to_pylist()) == set(catalog["objectId"].to_pylist())


def test_a_source_is_a_detected_forced_source(first):
    pair = ["objectId", "visitId"]
    forced = first.forced_sources.to_pandas()
    sources = first.sources.to_pandas()
    assert not forced.duplicated(pair).any()
    assert sources["sourceId"].is_unique
    detected = forced[forced["detected"]].sort_values(pair)
    shared = [*pair, "filterId", "psfFlux", "psfFluxErr"]
    left = detected[shared].reset_index(drop=True)
    right = sources.sort_values(pair)[shared].reset_index(drop=True)
    assert left.equals(right)


def test_noise_is_as_large_as_it_is_said_to_be(stars, first):
    quiet = dict(zip(stars.id[stars.amplitude == 0], range(10**6), strict=False))
    magnitude = stars.magnitude[stars.amplitude == 0, FILTERS.index(FILTERS[0])]
    forced = first.forced_sources.to_pandas()
    forced = forced[forced["objectId"].isin(quiet)]
    true = flux(magnitude[[quiet[i] for i in forced["objectId"]]])
    pull = (forced["psfFlux"] - true) / forced["psfFluxErr"]
    assert pull.mean() == pytest.approx(0, abs=0.01)
    assert pull.std() == pytest.approx(1, abs=0.01)
    bright = true > np.quantile(true, 0.99)
    errors = forced["psfFluxErr"]
    assert errors[bright].median() > errors[~bright].median()


def test_positions_scatter_as_they_are_said_to(stars, first):
    place = dict(zip(stars.id, range(stars.id.size), strict=True))
    sources = first.sources.to_pandas()
    star = np.array([place[i] for i in sources["objectId"]])
    north = (sources["dec"] - stars.dec[star]) * 3600 / sources["posErr"]
    east = (sources["ra"] - stars.ra[star] + 180) % 360 - 180
    east *= np.cos(np.radians(stars.dec[star])) * 3600 / sources["posErr"]
    assert north.std() == pytest.approx(1, abs=0.02)
    assert east.std() == pytest.approx(1, abs=0.02)
    assert sources["ra"].between(0, 360, inclusive="left").all()


def test_faint_stars_and_edges_are_missed_more_often(first):
    forced = first.forced_sources.to_pandas()
    snr = forced["psfFlux"] / forced["psfFluxErr"]
    assert forced["detected"][snr < 3].mean() < 0.05
    assert 0.35 < forced["detected"][snr.between(4.7, 5.3)].mean() < 0.6
    assert 0.9 < forced["detected"][snr > 10].mean() < 1


def test_a_seed_decides_everything(stars):
    again = [observe(stars, CADENCE, 2, seed=1) for _ in range(2)]
    other = observe(stars, CADENCE, 2, seed=2)
    assert again[0].sources.equals(again[1].sources)
    assert again[0].forced_sources.equals(again[1].forced_sources)
    assert not again[0].sources.equals(other.sources)
