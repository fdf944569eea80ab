"""Files are read whole before their first use, and again when they changed."""

from hashlib import sha256
from itertools import count

import pytest

from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.errors import CorruptData, TaskFailed
from qserv.storage.inventory import Inventory


@pytest.fixture
def entry(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "a.parquet").write_bytes(content)
    return ManifestEntry(
        role=Role.BASE,
        chunk=4,
        path="a.parquet",
        rows=1,
        live_rows=1,
        size=len(content),
        sha256=sha256(content).hexdigest(),
    )


def test_a_good_file_is_read_once(tmp_path, entry):
    inventory = Inventory(tmp_path)
    assert inventory.unverified([entry]) == [entry]
    inventory.verify([entry])
    assert inventory.unverified([entry]) == []


def test_a_file_that_changed_is_read_again(tmp_path, entry):
    inventory = Inventory(tmp_path)
    inventory.verify([entry])
    with (tmp_path / entry.path).open("r+b") as file:
        file.seek(100_000)
        file.write(b"\0")
    assert inventory.unverified([entry]) == [entry]
    with pytest.raises(CorruptData, match=r"file a\.parquet .*does not match its chec"):
        inventory.verify([entry])
    assert inventory.unverified([entry]) == [entry]


def test_a_file_that_is_gone_is_told(tmp_path, entry):
    inventory = Inventory(tmp_path)
    inventory.verify([entry])
    (tmp_path / entry.path).unlink()
    assert inventory.unverified([entry]) == [entry]
    with pytest.raises(CorruptData, match=r"file a\.parquet .*it is missing"):
        inventory.verify([entry])


def linking(path, times):
    """Give a file another name each time that a block of it was read, so often."""
    numbers = count()

    def pace(_):
        if (number := next(numbers)) < times:
            path.with_suffix(f".{number}").hardlink_to(path)

    return pace


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, entry):
    inventory = Inventory(tmp_path)
    inventory.verify([entry], pace=linking(tmp_path / entry.path, 2))
    assert inventory.unverified([entry]) == []


def test_a_file_that_never_keeps_still_is_told_with_its_chunk(tmp_path, entry):
    inventory = Inventory(tmp_path)
    with pytest.raises(TaskFailed, match="changed while it was read") as told:
        inventory.verify([entry], pace=linking(tmp_path / entry.path, 10**6))
    assert told.value.chunks == (entry.chunk,)
