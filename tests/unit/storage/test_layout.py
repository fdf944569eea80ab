"""Names on disk: the HATS profile, and nothing outside the data directory."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.errors import InvalidRequest
from qserv.sky.chunking import chunk_id
from qserv.storage import layout
from qserv.storage.layout import WorkerDirectory


def test_files_lie_where_hats_has_them():
    chunk = chunk_id(8, 123_456)
    leaf = "dataset/Norder=8/Dir=120000/Npix=123456/t1-0.parquet"
    assert layout.base_path("dr1", "Object", chunk, "t1-0") == f"dr1/Object/{leaf}"
    assert (
        layout.overlap_path("dr1", "Object", chunk, "t1-0")
        == f"dr1/Object.overlap/{leaf}"
    )
    assert layout.copy_path("dr1", "Visit", "t1-0") == "dr1/Visit/all/t1-0.parquet"
    assert (
        layout.index_path("dr1", "Object", 7, "t1-0")
        == "dr1/Object.index/7/t1-0.parquet"
    )


@given(
    st.integers(0, 29).flatmap(
        lambda k: st.tuples(st.just(k), st.integers(0, 12 * 4**k - 1))
    )
)
def test_every_chunk_has_a_place_of_its_own_that_is_accepted(leaf):
    order, pixel = leaf
    path = layout.base_path("dr1", "Object", chunk_id(order, pixel), "t1-0")
    assert f"/Norder={order}/" in path
    assert f"/Npix={pixel}/" in path
    assert layout.check_path(path) == path


@pytest.mark.parametrize("chunk", [-5, 0, 3])
def test_what_is_no_chunk_has_no_place(chunk):
    with pytest.raises(InvalidRequest, match=f"{chunk} is not the id of a chunk"):
        layout.base_path("dr1", "Object", chunk, "t1-0")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/x.parquet",
        "../x/y.parquet",
        "dr1/../../x.parquet",
        "dr1/./x.parquet",
        "dr1/Object/.hidden.parquet",
        "dr1//x.parquet",
        "dr1/Object/x.parquet\n",
        "dr1/Object/x'.parquet",
        "dr1/Object/*.parquet",
        "dr1/Obj~ect/x.parquet",
        "dr1/Object/x.csv",
        "x.parquet",
        "dr1/" + "x" * 300 + ".parquet",
        "",
    ],
)
def test_a_path_from_the_wire_stays_below_the_data_directory(path):
    directory = WorkerDirectory(Path("/w"))
    with pytest.raises(InvalidRequest, match="is not a path of a data file"):
        directory.file(path)
    with pytest.raises(InvalidRequest, match="is not a path of a data file"):
        directory.staged("t1", path)


@pytest.mark.parametrize("name", ["..", "a/b", "", ".x", "a b", "a\0"])
def test_names_from_the_wire_are_names(name):
    directory = WorkerDirectory(Path("/w"))
    for attempt in (
        lambda: directory.transaction(name),
        lambda: directory.manifest(name, "Object", 1),
        lambda: directory.manifest("dr1", name, 1),
        lambda: layout.copy_path(name, "Visit", "t1-0"),
    ):
        with pytest.raises(InvalidRequest, match="cannot name"):
            attempt()
