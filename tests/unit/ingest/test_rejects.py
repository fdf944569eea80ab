"""Rows that are left out are all told, once, in order, and no more than allowed."""

import csv

import pytest

from qserv.errors import BadContribution
from qserv.ingest.rejects import HEADER, Named, Reject, Rejects

INPUTS = [Named("Object", "o1.csv"), Named("Object", "o,2.csv")]


def rejects(tmp_path, allowed=0):
    return Rejects(INPUTS, allowed=allowed, file=tmp_path / "r.csv")


def test_the_first_are_spelled_out_and_all_are_written(tmp_path):
    found = rejects(tmp_path)
    found.add(Reject(1, row, "dec", "99", "99 is not within ±90") for row in (3, 2))
    found.add(Reject(0, row, "ra", "", "NULL") for row in range(1, 5))
    with pytest.raises(BadContribution) as caught:
        found.refuse()
    assert caught.value.text.splitlines() == [
        "table Object was not loaded: o1.csv, row 1, column ra: NULL",
        "  o1.csv, row 2, column ra: NULL",
        "  o1.csv, row 3, column ra: NULL",
        "  o1.csv, row 4, column ra: NULL",
        "  o,2.csv, row 2, column dec: 99 is not within ±90",
        "  and 1 more bad row",
        (
            f"all 6 are in {tmp_path / 'r.csv'}; correct them, or leave them out with "
            "--max-rejects 6 (max_rejects; allowed were 0)"
        ),
    ]
    found.write()
    with (tmp_path / "r.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == list(HEADER)
    assert len(lines) == 7
    assert lines[-1] == ["Object", "o,2.csv", "3", "dec", "99", "99 is not within ±90"]


def test_a_row_is_counted_once(tmp_path):
    found = rejects(tmp_path, allowed=1)
    found.add([Reject(0, 7, "ra", "x", "first"), Reject(0, 7, "dec", "y", "second")])
    assert len(found) == found.of(0) == 1
    assert found.of(1) == 0
    assert not found.too_many
    found.refuse()


def test_without_rejects_there_is_no_file(tmp_path):
    found = rejects(tmp_path)
    found.write()
    assert found.file is None
    assert list(tmp_path.iterdir()) == []


def test_rejects_are_counted_by_file():
    rejects = Rejects([Named("t", "a"), Named("t", "b")], allowed=None, file=None)
    twice = Reject(1, 7, "ra", "x", "no number")
    rejects.add(
        [Reject(0, 7, "", "", "bad"), twice, twice, Reject(1, 8, "", "", "bad")]
    )
    assert [rejects.of(number) for number in range(3)] == [1, 2, 0]
