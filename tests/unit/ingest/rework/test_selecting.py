"""Files replace the contributions of their names, and nothing else."""

from dataclasses import replace

import pytest
from support.loads import OBJECT

from qserv.errors import Conflict
from qserv.ingest.gathering import Input
from qserv.ingest.inputs import DEFAULTS, Format, InputFile
from qserv.ingest.rework.asked import Stored
from qserv.ingest.rework.selecting import going
from qserv.wire.v1 import czar_pb2 as pb


def brought(number, source, content, load):
    rows = 0 if content == NOTHING else 1
    return pb.StoredContribution(
        number=number, source=source, sha256=content * 32, rows=rows, load=load
    )


NOTHING = b"e"


STORED = Stored(
    "dr1",
    OBJECT,
    7,
    (
        brought(1, "/a", b"a", "first"),
        brought(2, "/b", b"b", "first"),
        brought(3, "/c", b"c", "second"),
        brought(4, "/empty", NOTHING, "third"),
        brought(5, "/again", NOTHING, "third"),
        brought(6, "/again", b"r", "second"),
    ),
    tuple(pb.HeldFile(load=load) for load in ("first", "first", "second")),
    (),
    children=False,
)


def given(**contents):
    return [
        Input(
            "object", InputFile(f"/{name}", Format.CSV, None, 1), content * 32, DEFAULTS
        )
        for name, content in contents.items()
    ]


@pytest.mark.parametrize(
    ("files", "loads", "gone", "kept"),
    [
        ({"a": b"x"}, {"first"}, {1}, [2]),
        ({"a": b"x", "c": b"y"}, {"first", "second"}, {1, 3}, [2, 6]),
        ({"a": b"a", "new": b"n"}, set(), set(), [1, 2, 3, 4, 5, 6]),
        ({"a": b"b", "b": b"a"}, {"first"}, {1, 2}, []),
        ({"empty": b"x"}, {"third"}, {4}, [5]),
        # Without rows it was, and is, but not in between.
        ({"again": NOTHING}, {"third", "second"}, {5, 6}, [3, 4]),
        ({"new": b"a"}, set(), set(), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_goes_and_what_is_read_again(files, loads, gone, kept):
    found = going(STORED, given(**files))
    assert (found.loads, found.gone) == (loads, gone)
    assert [each.number for each in found.kept] == kept
    # Files of which nothing stays are read only where keys must come again.
    held = {each.load for each in found.kept}
    assert {file.load for file in found.files} <= held
    watched = replace(found, stored=replace(STORED, children=True))
    assert watched.replacement.same_homes == bool(gone)


def test_content_that_is_live_under_another_name_is_no_replacement():
    with pytest.raises(Conflict, match="already, from /b: leave it out"):
        going(STORED, given(a=b"b"))
