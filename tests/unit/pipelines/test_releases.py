"""The files of a release fit its schema, and its fields are as dense as promised."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

import qserv.pipelines
from qserv.catalog.felis import read_schema
from qserv.pipelines import field, hipparcos
from qserv.pipelines.survey import Cadence
from qserv.sky import healpix
from qserv.wire.codec import arrow_schema

SCHEMAS = Path(qserv.pipelines.__file__).parent / "schemas"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    stars = hipparcos.sample().slice(0, 2000)
    shares = []
    hip = hipparcos.produce(
        folder / "hip", stars=stars, cadence=Cadence(passes=6), progress=shares.append
    )
    assert shares == [4 / 6, 1]
    return {"hip": hip, "deep": field.produce(folder / "deep", number=5000)}


@pytest.mark.parametrize("release", ["hip", "deep"])
def test_files_have_the_columns_and_types_of_the_schema(release, written):
    tables = read_schema(SCHEMAS / f"{release}.yaml")
    assert {table.name for table in tables} == set(written[release])
    for table in tables:
        for path in written[release][table.name]:
            rows = parquet.read_table(path)
            expected = arrow_schema(table.columns)
            assert rows.schema.names == expected.names
            assert rows.schema.types == expected.types
            for column in table.columns:
                assert column.nullable or rows[column.name].null_count == 0
                assert pc.sum(
                    pc.is_null(rows[column.name], nan_is_null=True)
                ).as_py() == (rows[column.name].null_count), (
                    "NULL is written as NULL, not as NaN"
                )


@pytest.mark.parametrize("release", ["hip", "deep"])
def test_every_column_is_described(release):
    for table in read_schema(SCHEMAS / f"{release}.yaml"):
        assert table.description
        for column in table.columns:
            assert column.description.endswith("."), column.name
            assert column.ucd, column.name


def test_every_visit_and_filter_exists(written):
    def column(table, name):
        paths = written["hip"][table]
        return {v for p in paths for v in parquet.read_table(p)[name].to_pylist()}

    for table in ("Source", "ForcedSource"):
        assert column(table, "visitId") <= column("Visit", "visitId")
        assert column(table, "filterId") <= column("Filter", "filterId")


def test_a_field_is_dense_in_places():
    rows = field.objects()
    assert rows.num_rows == 300_000
    assert pc.count_distinct(rows["objectId"]).as_py() == 300_000
    pixels = healpix.pixels(rows["ra"].to_numpy(), rows["dec"].to_numpy(), 10)
    counts = np.unique(pixels, return_counts=True)[1]
    assert counts.max() > 20 * np.median(counts)


def test_faint_objects_have_null_magnitudes():
    rows = field.objects(20_000)
    assert 0 < rows["gMag"].null_count < 20_000
    stars = pc.equal(rows["extendedness"], 0)
    assert pc.all(pc.equal(stars, pc.is_null(rows["redshift"]))).as_py()
    assert rows.equals(field.objects(20_000))
