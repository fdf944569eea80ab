"""Schemas are read, and what is wrong in them is named by file and place."""

import random

import pytest
import yaml

from qserv.catalog.felis import FELIS_TYPES, read_schema
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
                Column("name", DataType.VARCHAR, length=8),
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
    from felis.datamodel import DataType as FelisType

    assert {str(each) for each in FelisType} == {*FELIS_TYPES, "binary"}
    sized = {"char", "string", "unicode"}
    columns = [
        {"name": f"c{i}", "datatype": t} | ({"length": i} if t in sized else {})
        for i, t in enumerate(FELIS_TYPES)
    ]
    felis = yaml.safe_dump({"tables": [{"name": "T", "columns": columns}]})
    (table,) = read_schema(schema(felis, "tables: {T: {kind: replicated}}"))
    assert [c.datatype for c in table.columns] == list(FELIS_TYPES.values())
    lengths = {f: c.length for f, c in zip(FELIS_TYPES, table.columns, strict=True)}
    assert {f: n for f, n in lengths.items() if n} == {
        "char": 7,
        "string": 8,
        "unicode": 9,
    }


def test_what_no_column_holds_is_refused_by_name_unless_it_is_ignored(schema):
    blob = '  - {name: stamp, "@id": "#b", datatype: binary, length: 9}\n'
    with pytest.raises(InvalidRequest) as error:
        read_schema(schema(FELIS + blob))
    assert error.value.text.endswith(
        "dr1.yaml, line 16: tables[1] has column stamp of type binary, which qserv "
        "cannot hold; leave it out with `ignore: [stamp]` under Source in the sidecar"
    )
    ignored = SIDECAR.replace("key: id}", "key: id, ignore: [STAMP]}")
    assert [c.name for c in read_schema(schema(FELIS + blob, ignored))[1].columns] == [
        "id"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "double",
            "real",
            r"line 13: tables\[0\].columns\[1\].datatype is real; Felis has boolean, b",
        ),
        ("name: ra,", "", r"line 13: tables\[0\].columns\[1\] lacks the key name"),
        ("name: ra,", "name: 7,", r"columns\[1\].name must be text, not 7"),
        (
            "description: RA",
            "description: 7",
            r"line 13: tables\[0\].columns\[1\].description is not Felis: .*string",
        ),
        ("length: 8", "lenght: 8", r"line 15: .*is not Felis: Length must be provided"),
        (
            '"fits:tunit": deg',
            '"fits:tunit": furlong',
            r"line 13: tables\[0\].columns\[1\] is not Felis: Invalid unit",
        ),
        ("meta.id", "meta.ident", r"line 12: .* is not Felis: Invalid IVOA UCD"),
        ("tap:table_index: 1", "director: 1", r"line 10: tables\[0\].director is no"),
        ("columns:", "columms:", r"tables\[0\] lacks the key columns"),
        ("tables:\n-", "tables: 7\nx:\n-", r"line 5: tables must be a list"),
        ("tables:", "}", r"line 5: is not YAML"),
        ("version:", "name:", r"line 4: is not YAML: the key name stands there twice"),
        ("name: dec", "name: RA", r"RA"),
        ("name: dec", "name: _chunk", r"column _chunk is a system column"),
        ("name: dec", "name: _Cell_x0", r"column _Cell_x0 begins with an underscore"),
        ("name: dec", r'name: "d\0c"', r"column 'd.x00c' has a character"),
    ],
)
def test_wrong_felis(schema, old, new, message):
    assert old in FELIS
    with pytest.raises(InvalidRequest, match=rf"dr1.yaml[:,] .*{message}"):
        read_schema(schema(FELIS.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: director, ",
            "",
            r"sidecar.yaml, line 3: tables.Object lacks the key kind",
        ),
        (
            "kind: director",
            "kind: star",
            r"tables.Object.kind is 'star'; write director",
        ),
        (
            "key: id, pos",
            "kee: id, pos",
            r"line 3: tables.Object.kee is unknown; an entry has",
        ),
        ("[ra, dec]", "[ra]", r"tables.Object.position must be two column names"),
        ("[ra, dec]", "ra", r"tables.Object.position must be a list"),
        ("[ra, dec]", "[ra, DE]", r"table Object: there is no column DE"),
        ("source: {", "source: 7 #", r"tables.source must be a mapping"),
        ("source: {", "OBJECT: {", r"line 4: tables.OBJECT stands there twice"),
        ("tables:", "tabels:", r"the file lacks the key tables"),
        ("tables:", "radius: 3\ntables:", r"line 2: radius is unknown; a sidecar has"),
        ("tables:", "overlap: wide\ntables:", r"overlap must be 0 to 324,000 arcsec"),
        ("tables:", "overlap: -1\ntables:", r"overlap must be 0 to 324,000 arcsec"),
        ("tables:", "overlap: yes\ntables:", r"overlap must be arcseconds, not True"),
        (
            "key: id}",
            "key: id, orphans: maybe}",
            r"orphans is 'maybe'; write refuse or",
        ),
        ("key: id}", "key: id, orphans: keep}", r"table Source: orphans are kept by "),
        ("key: id}", "key: id, ignore: x}", r"tables.source.ignore must be a list"),
        ("key: id}", "key: id, ignore: [no]}", r"ignore\[0\] must be text, not False"),
        ("key: id}", "key: id, rename: {a: 1}}", r"rename.a must name columns, old an"),
        ("key: id}", "key: id, rename: {a: x, b: X}}", r"rename makes two columns one"),
        ("key: id}", "key: id, read: {sep: x}}", r"read.sep is unknown; there are for"),
        (
            "key: id}",
            "key: id, read: {header: 1}}",
            r"header must be true or false, no",
        ),
        (
            "key: id}",
            "key: id, read: {nulls: [1]}}",
            r"read.nulls\[0\] must be text, n",
        ),
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
    entries = read_sidecar(sidecar).entries
    assert entries["source"] == Entry(TableKind.CHILD, "id", "Object")


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


SAYS = """
overlap: 90
tables:
  Object: {kind: director, key: id, position: [ra, dec], rename: {NAME: label}}
  source:
    kind: child
    director: Object
    key: id
    orphans: refuse
    ignore: [_healpix_29]
    read: {format: csv, delimiter: "|", header: false, names: [id], nulls: ["-99"]}
"""


def test_a_sidecar_says_the_overlap_and_how_files_are_read(schema, tmp_path):
    path = schema(sidecar=SAYS)
    said = read_sidecar(tmp_path / "dr1.sidecar.yaml")
    assert said.overlap == 90 / 3600
    reading = said.entry("SOURCE").reading
    assert reading.ignores("_HEALPIX_29")
    assert reading.options == {
        "format": "csv",
        "delimiter": "|",
        "header": False,
        "names": ["id"],
        "nulls": ["-99"],
    }
    assert said.entry("Object").reading.rename == {"NAME": "label"}
    assert read_schema(path)[0].columns[-1].name == "label"


def test_a_file_beside_says_columns_that_are_referred_to(schema, tmp_path):
    (tmp_path / "base.yaml").write_text(FELIS)
    refs = """
name: dr2
resources: {base: {uri: base.yaml}}
tables:
- name: Object
  columnRefs:
    base:
      Object:
        id:
        ra: {overrides: {description: Better}}
        DEC: {ref_name: dec}
"""
    sidecar = "tables: {Object: {kind: director, key: id, position: [ra, DEC]}}"
    (table,) = read_schema(schema(refs, sidecar))
    assert [(c.name, c.unit) for c in table.columns] == [
        ("id", ""),
        ("ra", "deg"),
        ("DEC", "deg"),
    ]
    assert table.column("ra").description == "Better"
    for uri, says in (
        ("https://example.org/base.yaml", r"line 3: resources.base.uri is https"),
        ("dr1.yaml", r"line 3: resources.base.uri leads back to"),
        ("gone.yaml", r"gone.yaml: cannot be read"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            read_schema(schema(refs.replace("base.yaml", uri), sidecar))


@pytest.mark.parametrize("seed", range(4))
def test_mutations_end_in_typed_errors(schema, seed):
    """Whatever is wrong with the files, it is said; nothing else is ever raised."""
    draw = random.Random(seed)
    texts = (FELIS, SAYS)
    refused = 0
    for _ in range(50):
        felis, sidecar = (mutated(text, draw) for text in texts)
        try:
            read_schema(schema(felis, sidecar))
        except InvalidRequest:
            refused += 1
    assert refused > 30


def mutated(text, draw):
    """Return a text with something cut, doubled, moved or replaced."""
    for _ in range(draw.randrange(3)):
        start = draw.randrange(len(text))
        stop = min(len(text), start + draw.choice((1, 1, 3, 10, 40)))
        piece = draw.choice(
            ("", text[start:stop] * 2, "[", "}", ": ", "- ", "null", "7", "&a", "*a",
             "\t", "\x00", "\n", "'", '"', "{}", "[]", "~", "é", "!!binary x", "1e999")
        )  # fmt: skip
        text = text[:start] + piece + text[stop:]
    return text


def test_aliases_do_not_fill_a_message(tmp_path):
    """Nine of nine of nine … would be written out: gigabytes."""
    path = tmp_path / "t.sidecar.yaml"
    nine = [f"&a0 [{', '.join('x' * 9)}]"]
    nine += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path.write_text(f"tables: {{T: {{ignore: [{', '.join(nine)}], kind: *a11}}}}")
    with pytest.raises(InvalidRequest, match="kind must be text, not") as caught:
        read_sidecar(path)
    assert len(caught.value.text) < 2000
