"""What is written of tables is read back as they are; so do real surveys' schemas."""

from dataclasses import replace
from importlib.resources import files

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from qserv.catalog import felistext
from qserv.catalog.felis import read_schema
from qserv.catalog.sidecar import Reading, read_sidecar
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.ingest.stored import stored_schema
from qserv.wire.codec import arrow_schema, columns_of
from qserv.wire.messages import table_from_proto, table_to_proto

SCHEMAS = files("lsst.sdm.schemas")
SURVEYS = {
    "dp1.yaml": (12, 1838),
    "dp02_dc2.yaml": (12, 1534),
    "dp03_10yr.yaml": (4, 130),
    "apdb.yaml": (12, 462),
    # These two refer to columns of other files.
    "dp2.yaml": (16, 1970),
    "ppdb.yaml": (8, 390),
}
DP1 = """
tables:
  Object: {kind: director, key: objectId, position: [coord_ra, coord_dec]}
  Source: {kind: child, director: Object, key: parentSourceId, position: [ra, dec]}
"""


def table_of_everything():
    columns = (
        Column("id", DataType.BIGINT, "", "meta.id;meta.main", "The id.", False),
        Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra;meta.main"),
        Column("dec", DataType.DOUBLE, "deg", "pos.eq.dec;meta.main"),
        Column("no", DataType.VARCHAR, description='Said: "no" # it\\is\nso', length=3),
        Column("null", DataType.VARCHAR, description="É"),
        Column("b", DataType.BOOLEAN),
        Column("s", DataType.SMALLINT),
        Column("i", DataType.INTEGER),
        Column("f", DataType.REAL, "mJy"),
        Column("t", DataType.TIMESTAMP),
    )
    return Table(
        "Object",
        TableKind.CHILD,
        columns,
        key="i",
        director="Stars",
        position=("ra", "dec"),
        id="id",
        orphans=True,
        description="A: table",
    )


def written(tmp_path, tables, **how):
    (tmp_path / "t.yaml").write_text(felistext.felis("t", tables), encoding="utf-8")
    text = felistext.sidecar(tables, **how)
    (tmp_path / "t.sidecar.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "t.yaml"


def test_tables_are_read_back(tmp_path):
    table = table_of_everything()
    path = written(tmp_path, [table], overlap=30 / 3600)
    assert read_schema(path) == (table,)
    assert read_sidecar(tmp_path / "t.sidecar.yaml").overlap == 30 / 3600


@pytest.mark.parametrize("degrees", [0.0, 60 / 3600, 0.01, 1 / 7, 12.3456789])
def test_an_overlap_is_read_back(tmp_path, degrees):
    written(tmp_path, [table_of_everything()], overlap=degrees)
    found = read_sidecar(tmp_path / "t.sidecar.yaml").overlap
    assert found == pytest.approx(degrees, abs=1e-12)


def test_how_files_are_read_is_read_back(tmp_path):
    reading = Reading({"nulls": ["", "\\N"], "header": False}, ("_x",), {"2": "c_2"})
    written(tmp_path, [table_of_everything()], reading={"object": reading})
    assert read_sidecar(tmp_path / "t.sidecar.yaml").entry("Object").reading == reading


def test_what_felis_would_refuse_is_a_comment(tmp_path):
    column = Column("x", DataType.REAL, unit="furlong", ucd="meta.nonsense")
    path = written(tmp_path, [Table("T", TableKind.REPLICATED, (column,))])
    assert read_schema(path)[0].columns == (replace(column, unit="", ucd=""),)
    assert '# ivoa:unit: "furlong" is none that Felis knows' in path.read_text()


@pytest.mark.parametrize("survey", SURVEYS)
def test_the_schemas_of_surveys(survey, tmp_path):
    source = str(SCHEMAS / survey)
    names = [
        t["name"] for t in yaml.safe_load((SCHEMAS / survey).read_text())["tables"]
    ]
    everything = {"tables": {name: {"kind": "replicated"} for name in names}}
    (tmp_path / "s.sidecar.yaml").write_text(yaml.safe_dump(everything))
    tables = read_schema(source, tmp_path / "s.sidecar.yaml")
    assert (len(tables), sum(len(t.columns) for t in tables)) == SURVEYS[survey]
    assert read_schema(written(tmp_path, tables)) == tables
    for table in tables:
        assert table_from_proto(table_to_proto(table)) == table


def test_dp1_has_1296_columns_half_of_them_booleans(tmp_path):
    (tmp_path / "dp1.sidecar.yaml").write_text(DP1)
    objects, sources = read_schema(
        str(SCHEMAS / "dp1.yaml"), tmp_path / "dp1.sidecar.yaml", only=["Source"]
    )
    kinds = [column.datatype for column in objects.columns]
    assert (len(kinds), kinds.count(DataType.BOOLEAN)) == (1296, 512)
    assert len(sources.columns) == 156
    # Units, UCDs, descriptions and lengths are in the files that are stored.
    pq.write_table(stored_schema(objects).empty_table(), tmp_path / "o.parquet")
    stored = pq.read_schema(tmp_path / "o.parquet")
    assert columns_of(stored)[-1296:] == objects.columns
    assert stored.field("coord_ra").metadata == {
        b"unit": b"deg",
        b"ucd": b"pos.eq.ra;meta.main",
        b"description": objects.column("coord_ra").description.encode(),
    }
    assert stored.field("refBand").metadata[b"length"] == b"1"


def test_without_metadata_files_would_say_nothing_of_units():
    columns = table_of_everything().columns
    assert columns_of(arrow_schema(columns)) == columns
    bare = pa.schema([field.remove_metadata() for field in arrow_schema(columns)])
    assert columns_of(bare) != columns
