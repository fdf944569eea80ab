"""Where the tables of a load come from."""

from dataclasses import replace

import pytest
from support.loads import FILTER, parquet

from qserv.catalog.tables import Column, DataType, TableKind
from qserv.errors import InvalidRequest
from qserv.ingest.schema import described, tables_of

SIDECAR = "tables: {Filter: {kind: replicated}, Visit: {kind: replicated}}"
FELIS = "tables: [{name: Filter, columns: [{name: f, datatype: short}]}]"


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "dr.sidecar.yaml").write_text(SIDECAR)
    (tmp_path / "dr.yaml").write_text(FELIS)
    parquet(tmp_path / "f.parquet", FILTER, filterId=[1], name=["g"])
    return {"Filter": [tmp_path / "*.parquet"]}


def test_a_felis_file_says_the_columns(inputs, tmp_path):
    (table,) = tables_of(inputs, schema=tmp_path / "dr.yaml")
    assert [c.name for c in table.columns] == ["f"]


@pytest.mark.parametrize("name", ["schema", "sidecar"])
def test_a_sidecar_alone_leaves_the_columns_to_the_file(inputs, tmp_path, name):
    (table,) = tables_of(inputs, **{name: tmp_path / "dr.sidecar.yaml"})
    assert table.kind is TableKind.REPLICATED
    assert [(c.name, c.datatype) for c in table.columns] == [
        ("filterId", DataType.SMALLINT),
        ("name", DataType.VARCHAR),
    ]


def test_what_is_missing_is_said(inputs, tmp_path):
    with pytest.raises(InvalidRequest, match=r"give a Felis schema, or a sidecar"):
        tables_of(inputs)
    inputs["Star"] = inputs["Filter"]
    with pytest.raises(InvalidRequest, match=r"`Star: {kind: director, key: ID"):
        tables_of(inputs, sidecar=tmp_path / "dr.sidecar.yaml")


def test_a_table_that_is_live_is_what_it_is(inputs, tmp_path):
    live = replace(FILTER, columns=(*FILTER.columns, Column("more", DataType.REAL)))
    sidecar = tmp_path / "dr.sidecar.yaml"
    assert tables_of(inputs, known=[live]) == (live,)
    assert tables_of(inputs, sidecar=sidecar, known=[live]) == (live,)
    # Without it, the file would have the say.
    assert len(tables_of(inputs, sidecar=sidecar)[0].columns) == 2
    sidecar.write_text("tables: {Filter: {kind: replicated, position: [x, y]}}")
    with pytest.raises(InvalidRequest, match=r"Filter exists with position None, not"):
        tables_of(inputs, sidecar=sidecar, known=[live])


def test_what_a_sidecar_wishes_besides(inputs, tmp_path):
    (tmp_path / "dr.sidecar.yaml").write_text(
        "overlap: 36\ntables: {Filter: {kind: replicated, ignore: [name], "
        "rename: {filterId: id}, read: {format: parquet}}}"
    )
    found = described(inputs, sidecar=tmp_path / "dr.sidecar.yaml")
    assert [c.name for c in found.tables[0].columns] == ["id"]
    assert found.overlap == 0.01
    assert found.reading["filter"].options == {"format": "parquet"}
