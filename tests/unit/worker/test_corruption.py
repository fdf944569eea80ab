"""One flipped bit on a worker's disk, with and without verification."""

import pytest
from support import worker as w

from qserv.catalog.tables import Column, DataType
from qserv.errors import CorruptData
from qserv.plan.plan import MARK
from qserv.storage.inventory import Inventory

A, B = 64, 65
ID = Column("objectId", DataType.BIGINT)
ALL_IDS = f'SELECT "objectId" FROM {MARK}0{MARK}'


@pytest.fixture
async def worker(tmp_path):
    async with w.serving(tmp_path) as worker:
        await worker.load(own={A: w.rows_of(A, 3), B: w.rows_of(B, 2)})
        yield worker


def flip_a_bit(path):
    """Flip the bit of a stored value: what a failing disk does in silence."""
    data = bytearray(path.read_bytes())
    place = data.index((A * 1_000_000 + 1).to_bytes(8, "little"))
    data[place] ^= 4
    path.write_bytes(data)


async def test_a_flipped_bit_is_an_error_that_names_the_file(worker):
    await worker.run(ALL_IDS, [A], [ID])
    path = worker.own_file(A)
    flip_a_bit(path)
    text = await worker.refuses(CorruptData, "checksum", ALL_IDS, [A], [ID])
    assert "file dr1/Object/dataset/Norder=2/Dir=0/Npix=0/Object1-0.parquet" in text
    assert len((await worker.run(ALL_IDS, [B], [ID])).column("objectId")) == 2


async def test_without_verification_a_flipped_bit_is_a_wrong_answer(
    worker, monkeypatch
):
    monkeypatch.setattr(Inventory, "unverified", lambda self, entries: [])
    right = (await worker.run(ALL_IDS, [A], [ID])).column("objectId")
    flip_a_bit(worker.own_file(A))
    wrong = (await worker.run(ALL_IDS, [A], [ID])).column("objectId")
    assert wrong != right
