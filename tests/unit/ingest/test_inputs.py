"""Paths, directories, wildcards and URIs name the files to load, local and in S3."""

import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from support.reading import read, table

from qserv.errors import BadContribution, InvalidRequest
from qserv.ingest import formats, inputs, stores
from qserv.ingest.inputs import Compression, Format, ReadOptions, find, fingerprint

FILES = ("b.parquet", "a.csv", "deep/c.pq", "_metadata.parquet", ".x.crc", "_no/d.csv")


@pytest.fixture
def tree(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a")
    return tmp_path


@pytest.fixture(scope="module")
def bucket():
    """Return the beginning and the end of URIs of a store."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    query = f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    filesystem, _ = pa.fs.FileSystem.from_uri(
        f"s3://key:secret@sky{query}&allow_bucket_creation=true"
    )
    filesystem.create_dir("sky")
    for name in (*FILES, "deep/e [1] é%.csv", "_odd/a#1+b c.csv", "_odd/^?.csv"):
        with filesystem.open_output_stream(f"sky/dr1/{name}") as file:
            file.write(b"a\n1\n2\n")
    yield "s3://key:secret@sky/", query
    server.stop()


def test_what_is_found(tree):
    def names(*patterns):
        return [file.name.rpartition("/")[2] for file in find("T", patterns)]

    assert names(tree) == ["a.csv", "b.parquet", "c.pq"]
    assert names(tree / "*.csv", tree / "a.csv") == ["a.csv"]
    assert names(str(tree / "**/*.p*")) == ["_metadata.parquet", "b.parquet", "c.pq"]
    assert names(f"file://{tree}/*.csv") == ["a.csv"]


def test_a_file_of_two_names_is_one_file(tree, monkeypatch):
    (tree / "link.csv").symlink_to(tree / "a.csv")
    monkeypatch.chdir(tree)
    patterns = ["a.csv", tree / "a.csv", tree / "deep/../a.csv", "link.csv"]
    (file,) = find("T", patterns)
    assert file == inputs.InputFile(str(tree / "a.csv"), Format.CSV, None, 1)
    assert pickle.loads(pickle.dumps(file)) == file


@pytest.mark.parametrize("pattern", ["", "**/*.csv"])
def test_directories_behind_links_are_looked_into(tree, tmp_path_factory, pattern):
    """`pathlib` leaves them out: their rows would be missing."""
    disk = tmp_path_factory.mktemp("disk")
    (disk / "far.csv").touch()
    (tree / "deep/other").symlink_to(disk)
    (disk / "back").symlink_to(tree)
    found = [file.name for file in find("T", [tree / pattern])]
    assert str(tree / "deep/other/far.csv") in found
    assert len(found) == len({Path(name).resolve() for name in found})


def test_what_cannot_be_looked_at_is_an_error(tree, monkeypatch):
    (tree / "lost.csv").symlink_to(tree / "nowhere.csv")
    for pattern in (tree, tree / "*.csv", tree / "lost.*"):
        with pytest.raises(BadContribution, match=r"lost.csv: cannot be read: .*No su"):
            find("T", [pattern])
    (tree / "lost.csv").unlink()
    listed = Path.iterdir

    def denied(directory):
        if directory.name == "deep":
            raise PermissionError(13, "Permission denied")
        return listed(directory)

    monkeypatch.setattr(Path, "iterdir", denied)
    for pattern in (tree, tree / "*/*.pq", tree / "**/*.csv"):
        with pytest.raises(BadContribution, match=r"deep: cannot be read: .*denied"):
            find("T", [pattern])
    assert len(find("T", [tree / "*.csv"])) == 1


@pytest.mark.parametrize("pattern", ["*/c.pq", "*/*.pq", "**/c.pq", "deep/c.pq", ""])
def test_directories_that_may_be_listed_and_not_entered_are_an_error(
    tree, monkeypatch, pattern
):
    """Else what is in others is loaded, and of theirs nobody hears."""
    (tree / "wide").mkdir()
    (tree / "wide/c.pq").touch()
    assert len(find("T", [tree / "*/c.pq"])) == 2

    def denying(look):
        def looked_at(path, **how):
            if Path(path).parent.name == "deep":
                raise PermissionError(13, "Permission denied")
            return look(path, **how)

        return looked_at

    monkeypatch.setattr(os, "stat", denying(os.stat))
    monkeypatch.setattr(os, "lstat", denying(os.lstat))
    with pytest.raises(BadContribution, match=r"cannot be read: .*denied"):
        find("T", [tree / pattern])


@pytest.mark.parametrize("pattern", ["none.csv", "*.parq", "empty"])
def test_nothing_is_an_error(tree, pattern):
    (tree / "empty").mkdir()
    with pytest.raises(
        BadContribution, match=rf"table T: there is no file .*{pattern[1:]}"
    ):
        find("T", [tree / pattern])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.CSV.gz", (Format.CSV, Compression.GZIP)),
        ("x.tsv.zst", (Format.TSV, Compression.ZSTD)),
        ("x.txt", (Format.CSV, None)),
        ("x.fit", (Format.FITS, None)),
        ("x.vot.xml", (Format.VOTABLE, None)),
        ("x.votable.gz", (Format.VOTABLE, Compression.GZIP)),
        ("x.ecsv", (Format.ECSV, None)),
        ("x.feather", (Format.ARROW, None)),
        ("x.dat.gz", (None, Compression.GZIP)),
        ("csv", (None, None)),
    ],
)
def test_formats_by_name(name, expected):
    assert inputs.kind_of(name) == expected


@pytest.mark.parametrize("pattern", [".", "x.dat", "x*"])
def test_other_files_are_refused_and_never_left_out(tree, pattern):
    (tree / "x.dat").touch()
    with pytest.raises(BadContribution, match=r"x.dat says no format; say --format"):
        find("T", [tree / pattern])
    (file,) = find("T", [tree / "x.dat"], ReadOptions(format=Format.CSV))
    assert file.format is Format.CSV


def test_parquet_is_never_packed_as_a_whole(tree):
    (tree / "x.parquet.gz").touch()
    with pytest.raises(BadContribution, match="compresses inside: unpack the file"):
        find("T", [tree / "x.parquet.gz"])


def test_fingerprint(tree, monkeypatch):
    monkeypatch.setattr(inputs, "_BLOCK", 3)
    (tree / "a.csv").write_bytes(b"0123456789")
    (file,) = find("T", [tree / "a.csv"])
    assert fingerprint(file) == hashlib.sha256(b"0123456789").digest()
    (tree / "a.csv").unlink()
    with pytest.raises(BadContribution, match=r"a.csv: cannot be read"):
        fingerprint(file)


def test_what_is_found_in_a_store(bucket):
    begin, query = bucket

    def names(*patterns):
        found = find("T", [f"{begin}{pattern}{query}" for pattern in patterns])
        return [file.name.removeprefix("s3://sky/dr1/") for file in found]

    assert names("dr1") == names("dr1/") == [
        "a.csv", "b.parquet", "deep/c.pq", "deep/e [1] é%.csv",
    ]  # fmt: skip
    assert names("dr1/*.csv", "dr1/a.csv") == ["a.csv"]
    assert names("dr1/**/*.pq") == ["deep/c.pq"]
    assert names("dr1/[!b].*", "dr*/b.p*") == ["a.csv", "b.parquet"]
    # What a key may have besides, as a wildcard of local files takes it.
    odd = ["_odd/^?.csv", "_odd/a#1+b c.csv"]
    assert names("dr1/_odd/a#1+b c.csv", "dr1/_odd/^%3F.csv") == odd[::-1]
    assert names("dr1/_odd/*") == odd
    assert names("dr1/_odd/[^x]*") == names("dr1/_odd/*%3F*") == odd[:1]
    assert names("dr1/_odd/[]a]*") == odd[1:]
    for pattern in ("dr1/*.tsv", "none", "dr1/x.csv", "dr1/[z-a].csv", "dr1/a#.csv"):
        with pytest.raises(BadContribution, match="there is no file s3://sky/"):
            names(pattern)


def test_what_is_no_uri():
    with pytest.raises(BadContribution, match=r"s3://…: is no URI: .*"):
        find("T", ["s3://key:secret@[sky/a.csv"])


def test_two_stores_may_not_have_files_of_one_name(bucket):
    begin, query = bucket
    found = (f"{begin}dr1/a.csv{query}", f"{begin}dr1/*.csv{query}&scheme=http")
    assert len(find("T", found[:1] * 2)) == 1
    with pytest.raises(BadContribution, match=r"s3://sky/dr1/a.csv is named twice"):
        find("T", found)


def test_a_file_is_compared_with_what_was_found(tree, bucket):
    begin, query = bucket
    for name in (tree / "a.csv", f"{begin}dr1/a.csv{query}"):
        (file,) = find("T", [name])
        inputs.check_unchanged(file)
        for changed in ({"size": 7}, {"modified": 7}):
            with pytest.raises(BadContribution, match=r"a.csv: was changed while it"):
                inputs.check_unchanged(replace(file, **changed))


def test_files_of_a_store_are_read(bucket):
    begin, query = bucket
    for name in ("dr1/a.csv", "dr1/deep/e*.csv"):
        assert read(f"{begin}{name}{query}", table(a="BIGINT")).rows == {"a": [1, 2]}
    (file,) = find("T", [f"{begin}dr1/a.csv{query}"])
    assert fingerprint(file) == hashlib.sha256(b"a\n1\n2\n").digest()
    filesystem, _ = stores._place(file.uri)
    pq.write_table(
        pa.table({"a": range(1000)}), "sky/p/x.parquet", filesystem=filesystem
    )
    (file,) = find("T", [f"{begin}p{query}"])
    assert formats.count(file) == 1000
    assert read(file.uri, table(a="BIGINT")).numbers[-1] == 1000


def test_secrets_are_never_shown(bucket):
    begin, query = bucket
    with pytest.raises(BadContribution) as caught:
        find("T", [f"{begin}none{query}"])
    assert "secret" not in caught.value.text
    with pytest.raises(BadContribution) as caught:
        read(f"{begin}dr1/b.parquet{query}", table(a="BIGINT"))
    assert caught.value.text.startswith("s3://sky/dr1/b.parquet: does not begin as")
    with pytest.raises(BadContribution, match="nowhere://x: "):
        find("T", ["nowhere://x"])


def test_options_as_a_sidecar_says_them():
    said = {"format": "csv", "header": False, "names": ["a"], "nulls": ["", "-99"],
            "delimiter": "|", "table": "2"}  # fmt: skip
    found = inputs.read_options(said, ignore=["x"], rename={"b": "c"})
    assert found == ReadOptions(
        format=Format.CSV, header=False, names=("a",), nulls=("", "-99"),
        delimiter="|", table=2, ignore=frozenset({"x"}), rename={"b": "c"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"colour": 1}, "there is no option colour of reading; there are format, "),
        ({"format": "xls"}, "cannot be 'xls'; one of parquet, csv"),
        ({"header": "no"}, "cannot be 'no'; it is true or false"),
        ({"nulls": "x"}, "cannot be 'x'; it is a list of texts"),
        ({"delimiter": 1}, "cannot be 1; it is a text of one character"),
        ({"table": True}, "cannot be True; it is a name or a number"),
    ],
)
def test_options_that_there_are_not(said, message):
    with pytest.raises(InvalidRequest, match=message):
        inputs.read_options(said)
