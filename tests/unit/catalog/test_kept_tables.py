"""All that a table is outlives the czar: lengths of texts, orphans that are kept."""

from dataclasses import replace

import pytest
from support import metadata

from qserv.catalog.store import Store
from qserv.catalog.tables import Column, DataType

DESCRIBED = replace(
    metadata.SOURCE,
    columns=(
        *metadata.SOURCE.columns,
        Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra", "Where.", nullable=False),
        Column("dec", DataType.DOUBLE, "deg"),
        Column("band", DataType.VARCHAR, length=12),
        Column("note", DataType.VARCHAR),
    ),
    position=("ra", "dec"),
    orphans=True,
    id="sourceId",
)


@pytest.fixture
def reopened(tmp_path, metadata_place):
    store = Store.open(tmp_path, metadata_place)
    tables = (metadata.OBJECT, DESCRIBED, metadata.FILTER)
    metadata.publish(store, tables=tables)
    store.close()
    store = Store.open(tmp_path, metadata_place)
    yield store
    store.close()


def test_a_table_is_read_back_as_it_was_said(reopened):
    found = reopened.snapshot().release("hip").tables
    assert found["source"].table == DESCRIBED
    assert found["object"].table == metadata.OBJECT
