"""The rule of names, and what each breach of it says."""

import pytest
import yaml

from qserv.catalog import names
from qserv.catalog.sidecar import read_sidecar
from qserv.catalog.tables import SYSTEM_COLUMNS, Column, DataType, Table, TableKind
from qserv.dialects import lexis
from qserv.errors import InvalidRequest
from qserv.wire.messages import table_from_proto, table_to_proto

RULE = "a name is a letter, then letters, digits and _"
AS_IT_IS = "in the sidecar, and the file is read as it is"


def table(*columns, name="T"):
    made = tuple(Column(column, DataType.REAL) for column in columns)
    return Table(name, TableKind.REPLICATED, made)


@pytest.mark.parametrize(
    "name", ["x", "B_V", "objectId", "g_psfFlux_flag_noGoodPixels", "size", "select"]
)
def test_what_a_query_may_write_is_a_name(name):
    assert table(name).find(name.upper()).name == name


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            ["2MASS"],
            (
                f"table T: column '2MASS' begins with a digit; {RULE}: write "
                f'`rename: {{"2MASS": c_2MASS}}` {AS_IT_IS}'
            ),
        ),
        (
            ["RAJ2000", "_RAJ2000"],
            (
                "table T: column _RAJ2000 begins with an underscore, as only qserv's "
                f"own columns do; {RULE}: write "
                f'`rename: {{"_RAJ2000": RAJ2000_2}}` {AS_IT_IS}'
            ),
        ),
        (
            ["B-V"],
            (
                f"table T: column 'B-V' has the character -; {RULE}: write "
                f'`rename: {{"B-V": B_V}}` {AS_IT_IS}'
            ),
        ),
        (
            ["e mag"],
            (
                f"table T: column 'e mag' has a blank; {RULE}: write "
                f'`rename: {{"e mag": e_mag}}` {AS_IT_IS}'
            ),
        ),
        (
            ["λ"],
            (
                f"table T: column 'λ' has the character λ; {RULE}: write "
                f'`rename: {{"λ": column}}` {AS_IT_IS}'
            ),
        ),
        (
            ["a\nb"],
            (
                "table T: column 'a\\nb' has a character that cannot be printed; "
                f'{RULE}: write `rename: {{"a\\nb": a_b}}` {AS_IT_IS}'
            ),
        ),
        (
            [""],
            (
                f"table T: column '' has no name; {RULE}: write "
                f'`rename: {{"": column}}` {AS_IT_IS}'
            ),
        ),
        (
            ["_Chunk"],
            (
                "table T: column _Chunk is a system column of qserv: leave it out with "
                '`ignore: ["_Chunk"]` in the sidecar, or keep it with '
                '`rename: {"_Chunk": Chunk}`'
            ),
        ),
        (
            ["chunkId"],
            (
                "table T: column chunkId is what qserv calls the cells of every table "
                "in chunks: leave it out with `ignore: [chunkId]` in the sidecar, or "
                "keep it with `rename: {chunkId: my_chunkId}`"
            ),
        ),
        (
            ["__index_level_0__"],
            (
                "table T: column __index_level_0__ numbers the rows, as pandas writes "
                "an index without a name: leave it out with "
                '`ignore: ["__index_level_0__"]` in the sidecar, or keep it with '
                '`rename: {"__index_level_0__": index_level_0}`'
            ),
        ),
        (
            ["Rmag", "g", "rmag"],
            (
                "table T: two columns differ only in case, Rmag and rmag; write "
                "`rename: {rmag: rmag_2}` in the sidecar"
            ),
        ),
        (["g", "g"], "table T: column g stands there twice; take one out"),
    ],
)
def test_a_breach_says_what_to_write(columns, says, tmp_path):
    with pytest.raises(InvalidRequest) as error:
        table(*columns)
    assert error.value.text == says
    # What it says to write is what a sidecar takes, and it mends the table.
    path = tmp_path / "t.sidecar.yaml"
    for remedy in says.split("`")[1::2]:
        path.write_text(f"tables: {{T: {{kind: replicated, {remedy}}}}}")
        reading = read_sidecar(path).entry("t").reading
        kept = [c for c in columns if not reading.ignores(c)]
        new = reading.rename
        table(*(new.get(c, c) for c in kept))


def test_tables_keep_the_rule_too():
    with pytest.raises(InvalidRequest) as error:
        table("a", name="my table")
    assert error.value.text == f"table 'my table' has a blank; {RULE}"


@pytest.mark.parametrize("name", [*SYSTEM_COLUMNS, "_source", "chunkId", "subChunkId"])
def test_what_qserv_adds_is_refused(name):
    with pytest.raises(InvalidRequest, match="leave it out with `ignore"):
        table(name)


def test_without_the_rule_a_column_would_hide_that_of_the_system(monkeypatch):
    monkeypatch.setattr(names, "check_table", lambda *_: None)
    assert table("_chunk").find("_chunk") is not None


def test_every_word_that_our_language_reserves_is_known():
    assert lexis.RESERVED <= names.RESERVED
    assert names.reserved(["Size", "ra", "value"]) == ("Size", "value")


def test_all_names_of_a_table_are_mended_at_once():
    bad = ["RAJ2000", "_RAJ2000", "Rmag", "rmag", "rmag_2", "B-V", "B_V", "2", "é"]
    new = names.mended(bad)
    assert new == {
        "_RAJ2000": "RAJ2000_2",
        "rmag": "rmag_3",
        "B-V": "B_V_2",
        "2": "c_2",
        "é": "e",
    }
    table(*(new.get(name, name) for name in bad))


@pytest.mark.parametrize("name", ["no", "B-V", "_x", "1e3", "null", "a: b", '"'])
def test_a_name_is_written_as_yaml_reads_it(name):
    from qserv.catalog.felistext import scalar

    assert yaml.safe_load(f"{{{scalar(name)}: 1}}") == {name: 1}


def test_the_czar_checks_what_a_loader_says():
    message = table_to_proto(table("size"))
    message.columns[0].name = "2MASS"
    with pytest.raises(InvalidRequest, match="column '2MASS' begins with a digit"):
        table_from_proto(message)
