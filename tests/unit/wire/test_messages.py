"""Catalog values survive the wire."""

import numpy as np
import pytest

from qserv.catalog.snapshot import EVERYWHERE, ManifestEntry, Role
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.errors import InvalidRequest, InvalidValue
from qserv.plan.plan import Extent, ScanSource
from qserv.wire import messages
from qserv.wire.v1 import common_pb2, czar_pb2

COLUMNS = (
    Column("objectId", DataType.BIGINT, nullable=False),
    Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra;meta.main", "Right ascension."),
    Column("dec", DataType.DOUBLE, "deg"),
)


@pytest.mark.parametrize(
    "table",
    [
        Table("Object", TableKind.DIRECTOR, COLUMNS, "objectId", None, ("ra", "dec")),
        Table("Forced", TableKind.CHILD, COLUMNS, "objectId", "Object"),
        Table("Source", TableKind.CHILD, COLUMNS, "objectId", "Object", id="dec"),
        Table(
            "Match",
            TableKind.REF_MATCH,
            COLUMNS,
            "objectId",
            "Object",
            second_key="dec",
            second_director="RefObject",
        ),
        Table("Filter", TableKind.REPLICATED, COLUMNS, description="Bands."),
    ],
    ids=lambda table: table.name,
)
def test_a_table_arrives_as_it_was(table):
    assert messages.table_from_proto(messages.table_to_proto(table)) == table


@pytest.mark.parametrize("role", Role)
def test_a_manifest_entry_arrives_as_it_was(role):
    entry = ManifestEntry(
        role=role,
        chunk=EVERYWHERE,
        path="hip/Object/a.parquet",
        rows=3,
        live_rows=2,
        size=100,
        sha256="ab" * 32,
        bounds={"objectId": (1, 2**62), "ra": (0.1, 359.9), "band": ("g", "z")},
        offset=0.0,
        validity=(1, 7),
    )
    assert messages.entry_from_proto(messages.entry_to_proto(entry)) == entry


def test_what_was_not_measured_stays_unknown():
    entry = ManifestEntry(Role.BASE, 4, "p", 0, 0, 0, "00" * 32, offset=None)
    there = messages.entry_from_proto(messages.entry_to_proto(entry))
    assert (there.offset, there.validity) == (None, (1, None))


@pytest.mark.parametrize(
    "value", ["", "it's", 0, -(2**63), 2**63 - 1, 0.1, True, False]
)
def test_a_value_keeps_its_type(value):
    there = messages.value_from_proto(messages.value_to_proto(value))
    assert (there, type(there)) == (value, type(value))


def test_numpy_values_travel_as_plain_numbers():
    assert messages.value_to_proto(np.int32(7)).integer == 7
    assert messages.value_to_proto(np.float64(0.5)).real == 0.5


@pytest.mark.parametrize("value", [2**63, None, b"bytes"])
def test_what_cannot_be_bound_is_refused(value):
    with pytest.raises(InvalidValue):
        messages.value_to_proto(value)


@pytest.mark.parametrize("keys", [(), (1, -5, 2**62), ("a", "b")])
def test_keys_arrive_as_they_were(keys):
    assert messages.keys_from_proto(messages.keys_to_proto(keys)) == keys


def test_mixed_keys_are_refused():
    with pytest.raises(InvalidValue):
        messages.keys_to_proto([1, "a"])


@pytest.mark.parametrize("extent", Extent)
def test_a_scan_source_arrives_with_its_tree(extent):
    source = ScanSource("hip", "Object", 3, extent, COLUMNS, reach=0.5)
    message = messages.source_to_proto(source, family="hip", tree_version=2)
    there = messages.source_from_proto(message)
    assert (there.family, there.tree_version) == ("hip", 2)
    assert Extent(there.extent) is extent
    for name in ("release", "table", "manifest_version", "columns", "reach"):
        assert getattr(there, name) == getattr(source, name)


@pytest.mark.parametrize(
    "read",
    [
        lambda: messages.source_from_proto(common_pb2.ScanSource()),
        lambda: messages.entry_from_proto(common_pb2.ManifestEntry()),
        lambda: messages.value_from_proto(common_pb2.Value()),
        lambda: messages.table_from_proto(czar_pb2.TableDefinition(kind="view")),
        lambda: messages.columns_from_proto(
            [common_pb2.ColumnDescription(name="a", datatype="BLOB")]
        ),
    ],
    ids=["extent", "role", "value", "kind", "datatype"],
)
def test_what_a_newer_version_sends_is_refused_not_guessed(read):
    with pytest.raises(InvalidRequest):
        read()
