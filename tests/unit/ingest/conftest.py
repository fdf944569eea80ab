"""A small sky in files, and a czar and workers in memory that it is loaded into."""

import tempfile

import numpy as np
import pytest
from support.fake_cluster import fake_cluster
from support.loads import FORCED, OBJECT, SOURCE, parquet

from qserv import patience


@pytest.fixture
def czar():
    with fake_cluster() as czar:
        yield czar


@pytest.fixture
def hurry(monkeypatch):
    """Do not wait long for workers that are down."""
    monkeypatch.setattr(patience, "FILE", (0.01,))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Watch the temporary directory: nothing may stay in it."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def sky():
    rng = np.random.default_rng(2)
    ids = rng.permutation(3000) + 10**12
    ra, dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    return {"objectId": ids, "ra": ra, "dec": dec}


@pytest.fixture
def inputs(tmp_path, sky):
    rng = np.random.default_rng(3)
    which = rng.integers(0, 3000, 9000)
    ra, dec = sky["ra"][which], np.clip(sky["dec"][which] + 1e-3, -90, 90)
    ids = sky["objectId"][which]
    half = {name: values[:1500] for name, values in sky.items()}
    rest = {name: values[1500:] for name, values in sky.items()}
    parquet(tmp_path / "o1.parquet", OBJECT, **half)
    parquet(tmp_path / "o2.parquet", OBJECT, **rest)
    parquet(tmp_path / "s.parquet", SOURCE, objectId=ids, ra=ra, dec=dec)
    flux = np.where(which % 7 == 0, np.nan, which)
    parquet(tmp_path / "f.parquet", FORCED, objectId=ids, flux=flux)
    (tmp_path / "filter.csv").write_text("filterId,name\n1,g\n2,r\n")
    return {
        "Source": [tmp_path / "s.parquet"],
        "Object": [tmp_path / "o?.parquet"],
        "ForcedSource": [tmp_path / "f.parquet"],
        "Filter": [tmp_path / "filter.csv"],
    }
