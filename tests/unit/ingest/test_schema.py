"""Where the tables of a load come from."""

import re
from dataclasses import replace

import pytest
from astropy.table import Table
from support.loads import FILTER, parquet

from qserv.catalog.tables import Column, DataType, TableKind
from qserv.errors import BadContribution, InvalidRequest
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


def test_a_name_that_comes_close_is_named(inputs, tmp_path):
    inputs = {"Filtr": inputs["Filter"]}
    for said, where in (
        ({"schema": "dr.yaml"}, "dr.yaml has no table Filtr; did you mean Filter?"),
        ({"sidecar": "dr.sidecar.yaml"}, "did you mean filter, which it has?"),
    ):
        paths = {name: tmp_path / file for name, file in said.items()}
        with pytest.raises(InvalidRequest, match=re.escape(where)):
            tables_of(inputs, **paths)
    with pytest.raises(InvalidRequest, match="mean Filter, which the release has"):
        tables_of(inputs, known=[FILTER])


def test_files_without_rows_say_no_types(sky, tmp_path):
    (tmp_path / "o.csv").write_text("objectId,ra,dec\n")
    with pytest.raises(BadContribution, match="Object: no column of its files has a"):
        tables_of(sky, sidecar=tmp_path / "s.sidecar.yaml")


def test_a_table_that_is_live_is_what_it_is(inputs, tmp_path):
    live = replace(FILTER, columns=(*FILTER.columns, Column("more", DataType.REAL)))
    sidecar = tmp_path / "dr.sidecar.yaml"
    assert tables_of(inputs, known=[live]) == (live,)
    assert tables_of(inputs, sidecar=sidecar, known=[live]) == (live,)
    # Without it, the file would have the say.
    assert len(tables_of(inputs, sidecar=sidecar)[0].columns) == 2
    # A table that is replaced becomes what the sidecar says, if it names it.
    again = {"known": [live], "replace": True}
    assert described(inputs, **again).tables == (live,)
    assert len(described(inputs, sidecar=sidecar, **again).tables[0].columns) == 2
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


KEYS = """tables:
  Object: {kind: director, key: objectId, position: [ra, dec]}
  Source: {kind: child, key: objectId, director: Object}
"""


@pytest.fixture
def sky(tmp_path):
    (tmp_path / "s.sidecar.yaml").write_text(KEYS)
    (tmp_path / "o.csv").write_text("objectId,ra,dec\n1,10,-3\n2,10.1,?\n3,11,-4\n")
    (tmp_path / "s.csv").write_text("objectId\n1\n2\n")
    return {"Object": [tmp_path / "o.csv"], "Source": [tmp_path / "s.csv"]}


def test_a_position_with_a_bad_row_is_one_of_numbers(sky, tmp_path):
    stars, _ = tables_of(sky, sidecar=tmp_path / "s.sidecar.yaml")
    assert {c.name: c.datatype for c in stars.columns} == {
        "objectId": DataType.BIGINT, "ra": DataType.DOUBLE, "dec": DataType.DOUBLE,
    }  # fmt: skip


def test_a_position_of_texts_is_refused(sky, tmp_path):
    (tmp_path / "o.csv").write_text("objectId,ra,dec\n1,10:00:00,-3:30:00\n")
    with pytest.raises(InvalidRequest, match="ra is VARCHAR, but a position is two"):
        tables_of(sky, sidecar=tmp_path / "s.sidecar.yaml")


def test_a_position_in_other_units_is_refused(sky, tmp_path):
    stars = Table({"objectId": [1], "ra": [0.5], "dec": [0.1]})
    stars["ra"].unit = "rad"
    stars.write(tmp_path / "o.fits")
    sky = {"Object": [tmp_path / "o.fits"]}
    sidecar = tmp_path / "s.sidecar.yaml"
    with pytest.raises(InvalidRequest, match="ra is in rad, but a position is in deg"):
        tables_of(sky, sidecar=sidecar)
    stars["ra"].unit = "deg"
    stars.write(tmp_path / "o.fits", overwrite=True)
    assert len(tables_of(sky, sidecar=sidecar)) == 1


def test_a_text_among_the_keys_is_named_where_they_do_not_fit(sky, tmp_path):
    (tmp_path / "o.csv").write_text("objectId,ra,dec\n1,10,-3\nx2,10,-3\n3,1,-4\n")
    with pytest.raises(
        InvalidRequest,
        match=r"Source: key objectId is BIGINT, but objectId of its director Object is "
        r"VARCHAR.*; Object.objectId is text because of .*o.csv, row 2: 'x2': mend",
    ):
        tables_of(sky, sidecar=tmp_path / "s.sidecar.yaml")


def test_how_files_are_read_counts_for_what_is_inferred(sky, tmp_path):
    (tmp_path / "s.csv").write_text("objectId|n\n1|2\n")
    sidecar = tmp_path / "s.sidecar.yaml"
    with pytest.raises(BadContribution, match="Say --delimiter"):
        described({"Source": sky["Source"]}, sidecar=sidecar)
    (table,) = described(
        {"Source": sky["Source"]}, sidecar=sidecar, reading={"delimiter": "|"}
    ).tables
    assert [c.name for c in table.columns] == ["objectId", "n"]
