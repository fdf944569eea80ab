"""Schemas are read, and what is wrong in them is named by file and place."""

import pyarrow as pa
import pytest
import yaml

from qserv.catalog.felis import FELIS_TYPES, read_schema
from qserv.catalog.inference import infer
from qserv.catalog.sidecar import Entry, is_sidecar, read_sidecar
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.errors import InvalidRequest

FELIS = """
name: dr1
"@id": "#dr1"
version: {current: "1"}
tables:
- name: Object
  "@id": "#Object"
  description: Stars
  primaryKey: "#Object.id"
  tap:table_index: 1
  columns:
  - {name: id, "@id": "#o.id", datatype: long, "ivoa:ucd": meta.id, nullable: false}
  - {name: ra, "@id": "#o.ra", datatype: double, "fits:tunit": deg, description: RA}
  - {name: dec, "@id": "#o.dec", datatype: double, "ivoa:unit": deg, tap:std: 1}
  - {name: name, "@id": "#o.n", datatype: string, length: 8}
- name: Source
  "@id": "#Source"
  columns:
  - {name: id, "@id": "#s.id", datatype: long}
"""
SIDECAR = """
tables:
  Object: {kind: director, key: id, position: [ra, dec]}
  source: {kind: child, director: Object, key: id}
"""
CHILD = "{kind: child, director: Object, key: id}"
WITH_M = FELIS + '  - {name: m, "@id": "#s.m", datatype: long}\n'


@pytest.fixture
def schema(tmp_path):
    def write(felis=FELIS, sidecar=SIDECAR):
        (tmp_path / "dr1.yaml").write_text(felis)
        if sidecar is not None:
            (tmp_path / "dr1.sidecar.yaml").write_text(sidecar)
        return tmp_path / "dr1.yaml"

    return write


def test_tables_with_units_ucds_and_keys(schema):
    assert read_schema(schema()) == (
        Table(
            "Object",
            TableKind.DIRECTOR,
            (
                Column("id", DataType.BIGINT, ucd="meta.id", nullable=False),
                Column("ra", DataType.DOUBLE, unit="deg", description="RA"),
                Column("dec", DataType.DOUBLE, unit="deg"),
                Column("name", DataType.VARCHAR),
            ),
            key="id",
            position=("ra", "dec"),
            description="Stars",
        ),
        Table(
            "Source",
            TableKind.CHILD,
            (Column("id", DataType.BIGINT),),
            key="id",
            director="Object",
        ),
    )


def test_only_what_is_wanted_and_its_director(schema):
    path = schema(sidecar=SIDECAR.replace("source:", "Other:"))
    assert [t.name for t in read_schema(path, only=["OBJECT"])] == ["Object"]
    path = schema()
    assert [t.name for t in read_schema(path, only=["source"])] == ["Object", "Source"]


def test_every_felis_type_is_known(schema):
    columns = [{"name": f"c{i}", "datatype": t} for i, t in enumerate(FELIS_TYPES)]
    felis = yaml.safe_dump({"tables": [{"name": "T", "columns": columns}]})
    (table,) = read_schema(schema(felis, "tables: {T: {kind: replicated}}"))
    assert [c.datatype for c in table.columns] == list(FELIS_TYPES.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "double",
            "binary",
            r"tables\[0\].columns\[1\].datatype is binary; qserv holds b",
        ),
        ("name: ra,", "", r"tables\[0\].columns\[1\] lacks the key name"),
        ("description: RA", "description: 7", r"columns\[1\].description must be text"),
        (
            "nullable: false",
            "nullable: 0",
            r"columns\[0\].nullable must be true or fal",
        ),
        ("columns:", "columms:", r"tables\[0\] lacks the key columns"),
        ("tables:\n-", "tables: 7\nx:\n-", r"tables must be a list"),
        ("tables:", "}", r"is not YAML"),
        ("name: dec", "name: RA", r"two columns differ only in case"),
        ("name: dec", "name: _chunk", r"column _chunk is a system column"),
        ("name: dec", "name: _Cell_x0", r"column _Cell_x0 begins with an underscore"),
        ("name: dec", r'name: "d\0c"', r"column 'd.x00c' has a character"),
    ],
)
def test_wrong_felis(schema, old, new, message):
    assert old in FELIS
    with pytest.raises(InvalidRequest, match=rf"dr1.yaml: .*{message}"):
        read_schema(schema(FELIS.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: director, ", "", r"sidecar.yaml: tables.Object lacks the key kind"),
        (
            "kind: director",
            "kind: star",
            r"tables.Object.kind is 'star'; write director",
        ),
        ("key: id, pos", "kee: id, pos", r"tables.Object.kee is unknown; an entry has"),
        ("[ra, dec]", "[ra]", r"tables.Object.position must be two column names"),
        ("[ra, dec]", "ra", r"tables.Object.position must be a list"),
        ("[ra, dec]", "[ra, DE]", r"table Object: there is no column DE"),
        ("source: {", "source: 7 #", r"tables.source must be a mapping"),
        ("source:", "Sauce:", r"table Source are spread; .*`Source: {kind: child"),
    ],
)
def test_wrong_sidecar(schema, old, new, message):
    assert old in SIDECAR
    with pytest.raises(InvalidRequest, match=message):
        read_schema(schema(sidecar=SIDECAR.replace(old, new)))


def test_files_that_are_not_there(schema, tmp_path):
    with pytest.raises(InvalidRequest, match=r"no.yaml: cannot be read: No such file"):
        read_schema(tmp_path / "no.yaml")
    with pytest.raises(InvalidRequest, match=r"no.yaml: cannot be read"):
        read_schema(schema(), tmp_path / "no.yaml")
    (tmp_path / "dr1.sidecar.yaml").unlink()
    with pytest.raises(InvalidRequest, match=r"nothing says how the rows of table Obj"):
        read_schema(schema(sidecar=None))


def test_a_sidecar_is_not_felis(schema, tmp_path):
    felis = schema()
    sidecar = tmp_path / "dr1.sidecar.yaml"
    assert is_sidecar(sidecar)
    assert not is_sidecar(felis)
    with pytest.raises(InvalidRequest, match=r"tables is a mapping, as in a sidecar"):
        read_schema(sidecar)
    assert read_sidecar(sidecar)["source"] == Entry(TableKind.CHILD, "id", "Object")


def test_a_ref_match_table_names_two_keys_and_two_directors(schema):
    pairs = "{kind: ref-match, director: Object, key: id, "
    second = "second_director: Object, second_key: m}"
    match = read_schema(schema(WITH_M, SIDECAR.replace(CHILD, pairs + second)))[1]
    assert match.links == (("id", "Object"), ("m", "Object"))
    for wrong, says in (
        (pairs.removesuffix(", ") + "}", "a ref-match table must say its second_key"),
        (pairs + second[:-1] + ", id: m}", "a ref-match table has no id"),
        (pairs + second.replace("key: m", "key: ID"), "are one column, id"),
        (pairs + second.replace("key: m", "key: o"), "there is no column o"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            read_schema(schema(WITH_M, SIDECAR.replace(CHILD, wrong)))


def test_a_child_may_declare_an_id_of_its_own(schema):
    with_id = SIDECAR.replace("director: Object, ", "director: Object, id: m, ")
    director, child = read_schema(schema(WITH_M, with_id))
    assert (director.indexed, child.indexed) == ("id", "m")
    with pytest.raises(InvalidRequest, match="a director table has no id"):
        read_schema(
            schema(sidecar=SIDECAR.replace("kind: director", "kind: director, id: id"))
        )


def test_wanting_a_ref_match_table_wants_both_its_directors(schema):
    sidecar = SIDECAR.replace(
        CHILD,
        "{kind: ref-match, director: Gone, key: id, "
        "second_director: Object, second_key: m}",
    )
    found = read_schema(schema(WITH_M, sidecar), only=["Source"])
    assert [table.name for table in found] == ["Object", "Source"]


def test_columns_are_inferred_from_arrow():
    meaning = {"unit": "mag", "description": "How bright"}
    schema = pa.schema(
        [
            pa.field("t", pa.int8()),
            pa.field("u", pa.uint32()),
            pa.field("m", pa.float32(), metadata=meaning),
            pa.field("s", pa.dictionary(pa.int8(), pa.large_string())),
            pa.field("w", pa.timestamp("ns")),
            pa.field("b", pa.bool_()),
        ]
    )
    table = infer("T", schema, Entry(TableKind.REPLICATED))
    assert [str(c.datatype) for c in table.columns] == [
        "SMALLINT", "BIGINT", "REAL", "VARCHAR", "TIMESTAMP", "BOOLEAN",
    ]  # fmt: skip
    assert table.column("m").unit == "mag"
    assert table.column("m").description == "How bright"
    listed = pa.schema([pa.field("l", pa.list_(pa.int8()))])
    with pytest.raises(InvalidRequest, match=r"table T: column l has type list"):
        infer("T", listed, Entry(TableKind.REPLICATED))
