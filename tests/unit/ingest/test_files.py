"""Paths, directories and wildcards name the files to load."""

import hashlib
from pathlib import Path

import pytest

from qserv.errors import BadContribution
from qserv.ingest import files
from qserv.ingest.files import find, fingerprint


@pytest.fixture
def tree(tmp_path):
    for name in ("b.parquet", "a.csv", "deep/c.pq", "_metadata.parquet", ".x.crc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('a"b')
    return tmp_path


def test_what_is_found(tree):
    def names(*patterns):
        return [path.name for path in find("T", patterns)]

    assert names(tree) == ["a.csv", "b.parquet", "c.pq"]
    assert names(tree / "*.csv", tree / "a.csv") == ["a.csv"]
    assert names(str(tree / "**/*.p*")) == ["_metadata.parquet", "b.parquet", "c.pq"]


def test_a_file_of_two_names_is_one_file(tree, monkeypatch):
    (tree / "link.csv").symlink_to(tree / "a.csv")
    monkeypatch.chdir(tree)
    names = ["a.csv", tree / "a.csv", tree / "deep/../a.csv", "link.csv"]
    assert find("T", names) == (Path("a.csv"),)


@pytest.mark.parametrize("pattern", ["none.csv", "*.parq", "empty"])
def test_nothing_is_an_error(tree, pattern):
    (tree / "empty").mkdir()
    with pytest.raises(
        BadContribution, match=rf"table T: there is no file .*{pattern[1:]}"
    ):
        find("T", [tree / pattern])


@pytest.mark.parametrize("pattern", [".", "x.csv.gz", "x*"])
def test_other_files_are_refused_and_never_left_out(tree, pattern):
    (tree / "x.csv.gz").touch()
    message = r"x.csv.gz is neither Parquet nor CSV .* by name or wildcard"
    with pytest.raises(BadContribution, match=message):
        find("T", [tree / pattern])


def test_fingerprint(tree):
    mark = fingerprint(tree / "a.csv")
    assert mark.sha256 == hashlib.sha256(b'a"b').digest()
    assert mark.stray == 1
    with pytest.raises(BadContribution, match=r"cannot be read"):
        fingerprint(tree)


@pytest.mark.parametrize(
    ("content", "stray"),
    [
        (b'"a","b""c","""d"""\r\n"x\ny",""\n""', None),
        (b'\xef\xbb\xbf"a",b\n', None),
        (b'a\n"x\n1\n"y\n', 7),
        (b'a\nx"y"\n', 3),
        (b'a\n"x\n', 2),
    ],
)
def test_quotes_that_are_out_of_place(tmp_path, content, stray, monkeypatch):
    path = tmp_path / "q.csv"
    path.write_bytes(content)
    for block in (4, 5, 7, 2**20):
        monkeypatch.setattr(files, "_BLOCK", block)
        assert fingerprint(path).stray == stray
