"""What VOTables of others have, and what none may have."""

import base64
import struct

import pandas as pd
import pyarrow as pa
import pytest
from support.reading import read, schema_of, table

from qserv.errors import BadContribution
from qserv.ingest import formats, inputs


def written(tmp_path, fields, rows, name="t.xml"):
    path = tmp_path / name
    path.write_text(
        '<?xml version="1.0"?>\n<vo:VOTABLE version="1.4" xmlns:vo="x"><vo:RESOURCE>'
        f'<vo:TABLE name="One">{fields}<vo:DATA><vo:TABLEDATA>{rows}</vo:TABLEDATA>'
        '</vo:DATA></vo:TABLE><TABLE name="Two"><FIELD name="z" datatype="int"/>'
        "<DATA><TABLEDATA><TR><TD>0x1F</TD></TR></TABLEDATA></DATA></TABLE>"
        "</vo:RESOURCE></vo:VOTABLE>"
    )
    return path


def test_what_votables_of_others_have(tmp_path):
    fields = (
        '<FIELD name="w" datatype="char" arraysize="*" xtype="timestamp"/>'
        '<FIELD name="t" datatype="boolean"/><FIELD ID="n" datatype="short">'
        '<VALUES null="-9"/></FIELD>'
    )
    rows = (
        "<TR><TD>2026-01-02T03:04:05Z</TD><TD>T</TD><TD>-9</TD></TR>"
        "<TR><TD/><TD>?</TD><TD>70000</TD></TR><TR><TD>x</TD><TD/></TR>"
        "<TR><TD/><TD>false</TD><TD>-1</TD></TR>"
    )
    path = written(tmp_path, fields, rows)
    found = read(path, table(w="TIMESTAMP", t="BOOLEAN", n="SMALLINT"))
    assert found.rows == {
        "w": [pd.Timestamp("2026-01-02 03:04:05"), None],
        "t": [True, False],
        "n": [None, -1],
    }
    assert found.numbers == [1, 4]
    assert found.reasons == [(2, "n", "70000"), (3, "", "x")]
    assert schema_of(path).field("w").type == pa.timestamp("us")
    for wish in ("two", 1):
        assert read(path, table(z="INTEGER"), table=wish).rows == {"z": [31]}
    with pytest.raises(BadContribution, match="no table 2; its tables are One, Two"):
        read(path, table(z="INTEGER"), table=2)


def packed(tmp_path, fields, rows, kind="BINARY"):
    path = tmp_path / "t.vot"
    text = base64.b64encode(b"".join(rows)).decode()
    path.write_text(
        f"<VOTABLE><RESOURCE><TABLE>{fields}<DATA><{kind}><STREAM encoding='base64'>"
        f"{text}</STREAM></{kind}></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    return path


def test_a_null_number_is_one_however_it_is_written(tmp_path):
    fields = (
        '<FIELD name="i" datatype="int"><VALUES ID="a" null="-099"/></FIELD>'
        '<FIELD name="f" datatype="float"><VALUES null="-99.9"/></FIELD>'
        '<FIELD name="h" datatype="unsignedByte"><VALUES null="0xFF"/></FIELD>'
        '<FIELD name="j" datatype="int"><VALUES ref="a"/></FIELD>'
    )
    into = table(i="INTEGER", f="REAL", h="SMALLINT", j="INTEGER")
    texts = ["-99 -99.9 255 -99", " -099  -9.99e1 0xff -99.0", "-9 -99 25 9", "x 1 1 1"]
    rows = "".join(
        "<TR>" + "".join(f"<TD> {cell} </TD>" for cell in row.split()) + "</TR>"
        for row in texts
    )
    found = read(written(tmp_path, fields, rows), into)
    expected = {name: [None, None] for name in "ifhj"}
    for name, value in zip("ifhj", (-9, -99.0, 25, 9), strict=True):
        expected[name].append(value)
    assert found.rows == expected
    assert found.reasons == [(4, "i", "x")]
    rows = [struct.pack(">ifBi", -99, -99.9, 255, -99), struct.pack(">ifBi", *[9] * 4)]
    found = read(packed(tmp_path, fields, rows), into)
    assert found.rows == {name: [None, 9] for name in "ifhj"}


def test_arrays_that_are_left_out_are_passed_over(tmp_path):
    fields = (
        '<FIELD name="b" datatype="bit" arraysize="11"/>'
        '<FIELD name="v" datatype="int" arraysize="*"/>'
        '<FIELD name="c" datatype="doubleComplex" arraysize="2x3"/>'
        '<FIELD name="w" datatype="short" arraysize="2x*"/>'
        '<FIELD name="k" datatype="int"/>'
    )

    def row(key, length):
        values = struct.pack(f">2si{length}i", b"", length, *range(length))
        return values + bytes(96) + bytes(4) + struct.pack(">i", key)

    path = packed(tmp_path, fields, [row(7, 0), row(8, 3), row(9, 1)])
    left = {"ignore": frozenset("bvcw")}
    assert read(path, table(k="INTEGER"), **left).rows == {"k": [7, 8, 9]}
    path = packed(tmp_path, fields, [row(7, 0)[:-8] + struct.pack(">i2hi", 1, 5, 6, 7)])
    with pytest.raises(BadContribution, match="row 1: column w: its length may count"):
        read(path, table(k="INTEGER"), **left)


@pytest.mark.parametrize("flags", [b"", b"\0"])
def test_characters_that_are_none_make_a_bad_row(tmp_path, flags):
    fields = (
        '<FIELD name="c" datatype="char" arraysize="3"/>'
        '<FIELD name="u" datatype="unicodeChar" arraysize="*"/>'
        '<FIELD name="t" datatype="boolean"/>'
    )

    def row(char, wide, truth=b"T"):
        return flags + char + struct.pack(">i", len(wide) // 2) + wide + truth

    star = "\u2605\U0001f52d"
    rows = [
        row("\u2605".encode(), star.encode("utf-16-be")),
        row(b"a\0\xff", b"\0x\0\0\0y\0\0", b"?"),
        row(b"a\xff\0", b"\0x"),
        row(b"abc", b"\xd8\x80"),
        row(b"abc", b"\0x", b"Q"),
    ]
    path = packed(tmp_path, fields, rows, "BINARY2" if flags else "BINARY")
    found = read(path, table(c="VARCHAR", u="VARCHAR", t="BOOLEAN"))
    assert found.rows == {"c": ["\u2605", "a"], "u": [star, "x"], "t": [True, None]}
    assert [(row, column) for row, column, _ in found.reasons] == [
        (3, "c"), (4, "u"), (5, "t"),
    ]  # fmt: skip
    assert found.rejects[0].value == "a\\xff"
    (file,) = inputs.find("T", [path])
    raw = pa.Table.from_batches(formats.raw(file)).to_pydict()
    assert raw["c"] == ["\u2605", "a", None, "abc", "abc"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<?xml version='1.0'?><html/>", "its root is <html>"),
        ("<VOTABLE/>", "has no table"),
        (
            "<VOTABLE><RESOURCE><TABLE><FIELD name='z' datatype='int'/>",
            "it is truncated",
        ),
        (
            "<!DOCTYPE a [<!ENTITY b 'c'>]><VOTABLE>&b;</VOTABLE>",
            "it has entities of its own",
        ),
        (
            (
                "<!DOCTYPE VOTABLE SYSTEM 'http://us-vo.org/xml/VOTable.dtd'><VOTABLE>"
                "<TABLE><FIELD name='z' datatype='int'/><DATA><TABLEDATA><TR>"
                "<TD>1&alpha;</TD></TR></TABLEDATA></DATA></TABLE></VOTABLE>"
            ),
            "it has entities of its own",
        ),
        (
            (
                "<VOTABLE><TABLE><FIELD name='z' datatype='int'/><DATA><TABLEDATA><TR>"
                "<TD>1<sup>2</sup></TD></TR></TABLEDATA></DATA></TABLE></VOTABLE>"
            ),
            "a value has <sup> in it",
        ),
        (
            (
                "<VOTABLE><TABLE><FIELD name='z' datatype='int'/><DATA><TABLEDATA>"
                "</TABLEDATA></DATA></TABLE><INFO name='QUERY_STATUS' value='ERROR'/>"
                "</VOTABLE>"
            ),
            "it says itself that its query failed",
        ),
        (
            (
                "<VOTABLE><TABLE><FIELD name='z' datatype='int'/><DATA><TABLEDATA>"
                f"</TABLEDATA></DATA></TABLE>{' ' * 2**19}"
            ),
            "it is truncated",
        ),
        (
            (
                "<VOTABLE><TABLE><FIELD name='z' datatype='int'/><DATA><BINARY>"
                "<STREAM href='http://x/y'/></BINARY></DATA></TABLE></VOTABLE>"
            ),
            "not in it as base64",
        ),
        (
            (
                "<VOTABLE><TABLE><FIELD name='z' datatype='int'/><DATA><BINARY>"
                "<STREAM encoding='base64'>AAAAAAA=</STREAM></BINARY></DATA></TABLE>"
                "</VOTABLE>"
            ),
            "its rows end within one",
        ),
        (
            (
                "<VOTABLE><TABLE><FIELD name='z' datatype='int' arraysize='3'/><DATA>"
                "<TABLEDATA/></DATA></TABLE></VOTABLE>"
            ),
            "column z: has several values a row",
        ),
    ],
)
def test_votables_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "t.vot"
    path.write_text(text)
    with pytest.raises(BadContribution, match=f"t.vot.* {message}"):
        read(path, table(z="INTEGER"))
