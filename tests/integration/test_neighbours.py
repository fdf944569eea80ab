"""Pairs of near neighbours, counted by three workers and by a KD-tree."""

from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.chunks import Chunks
from support.skies import ARCSEC, border_sky, cross_border, kdtree_pairs
from support.survey import Survey

import qserv
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.plan.planner import plan
from qserv.sky import healpix
from qserv.sky.chunking import ChunkTree

RADII = (5, 30, 60)
OBJECT = Table(
    "Object",
    TableKind.DIRECTOR,
    (
        Column("objectId", DataType.BIGINT),
        Column("ra", DataType.DOUBLE, "deg"),
        Column("dec", DataType.DOUBLE, "deg"),
    ),
    key="objectId",
    position=("ra", "dec"),
)
PAIRS = (
    "SELECT COUNT(*) FROM {release}.Object a JOIN {release}.Object b "
    "ON DISTANCE(a.ra, a.dec, b.ra, b.dec) <= {radius} WHERE a.objectId < b.objectId"
)


def asked(release: str, arcsec: float) -> str:
    return PAIRS.format(release=release, radius=repr(arcsec * ARCSEC))


@pytest.fixture(scope="session")
def stars() -> pa.Table:
    """Return the positions of the sample that the package ships."""
    sample = files("qserv.pipelines") / "samples" / "hipparcos.parquet"
    return pq.read_table(str(sample), columns=["objectId", "ra", "dec"])


@pytest.fixture(scope="session")
def clumps() -> pa.Table:
    """Return clumps on every kind of border of a tree of 48 leaves, and of any tree."""
    return pa.table(border_sky(ChunkTree.uniform(1), seed=5))


@pytest.fixture(scope="session")
def skies(stars, clumps, tmp_path_factory):
    """Load both skies into three workers."""
    place = tmp_path_factory.mktemp("neighbours")
    with qserv.LocalCluster(workers=3) as db:
        for release, rows, leaf_rows in (
            ("hip", stars, 4000),
            ("border", clumps, clumps.num_rows // 8),
        ):
            pq.write_table(rows, place / f"{release}.parquet")
            db.load(
                release,
                {"Object": place / f"{release}.parquet"},
                schema=(OBJECT,),
                leaf_rows=leaf_rows,
            )
        yield db


def tree_of(db, release: str) -> ChunkTree:
    """Return the whole tree: at these leaf limits, all leaves hold rows."""
    tables = next(r for r in db.status().releases if r.name == release).tables
    return ChunkTree(np.array(tables[0].chunk_ids))


@pytest.mark.parametrize("arcsec", RADII)
def test_hipparcos_pairs_are_those_of_a_kdtree(skies, stars, arcsec):
    pairs = kdtree_pairs(stars["ra"], stars["dec"], arcsec * ARCSEC)
    for batch in (1, 0):
        found = skies.query(asked("hip", arcsec), batch_chunks=batch).to_arrow()
        assert found["count"].to_pylist() == [len(pairs)]


@pytest.mark.parametrize("arcsec", RADII)
def test_pairs_across_borders_are_those_of_a_kdtree(skies, clumps, arcsec):
    ra, dec = (clumps[c].to_numpy() for c in ("ra", "dec"))
    pairs = kdtree_pairs(ra, dec, arcsec * ARCSEC)
    homes = tree_of(skies, "border").locate(healpix.pixels(ra, dec))
    assert cross_border(pairs, homes) >= 10_000
    for batch in (1, 0):
        found = skies.query(asked("border", arcsec), batch_chunks=batch).to_arrow()
        assert found["count"].to_pylist() == [len(pairs)]


def test_without_overlap_pairs_are_lost(clumps):
    """The same plan over the same chunks then finds fewer pairs."""
    chunks = Chunks(Survey({"Object": clumps}, {"Object": OBJECT}), leaf_rows=4000)
    made = plan(asked("t", 60), chunks.snapshot)
    whole = chunks.run(made)["count"].to_pylist()
    pairs = kdtree_pairs(clumps["ra"], clumps["dec"], 60 * ARCSEC)
    assert whole == [len(pairs)]
    chunks.connection.execute("DELETE FROM Object_overlap")
    assert chunks.run(made)["count"].to_pylist()[0] < len(pairs) - 10_000
