"""The director index: cut into shards, asked where its keys lie."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fake_cluster import fake_cluster

from qserv.catalog.tables import Column, DataType
from qserv.errors import InvalidRequest
from qserv.ingest import index
from qserv.ingest.index import LiveIndex, shard_count
from qserv.ingest.stored import index_schema
from qserv.wire.messages import value_to_proto
from qserv.wire.v1 import czar_pb2


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (0, 0),
        (1, 1),
        (20_000, 1),
        (20_001, 2),
        (10**6, 4),
        (10**8, 20),
        (10**8 + 1, 21),
    ],
)
def test_how_many_shards(rows, count):
    assert shard_count(rows) == count


@pytest.fixture
def live():
    """Give an index of two overlapping shards, whose first holder is down."""
    with fake_cluster() as czar:
        (down, _), (up, _) = czar.workers
        down.trouble = "down"
        placed = []
        for number, keys in enumerate(([1, 3, 5, 9], [2, 4, 10])):
            homes = [key * 100 for key in keys]
            schema = index_schema(Column("id", DataType.BIGINT))
            sink = io.BytesIO()
            pq.write_table(pa.table([keys, homes], schema=schema), sink)
            up.files[f"dr1/Object.index/{number}/x.parquet"] = sink.getvalue()
            placed.append(
                czar_pb2.IndexShardLocation(
                    shard=number,
                    low=value_to_proto(keys[0]),
                    high=value_to_proto(keys[-1]),
                    workers=[location for _, location in czar.workers],
                )
            )
        existing = czar_pb2.ExistingTable(
            name="Object", manifest_version=1, index=placed
        )
        yield LiveIndex("dr1", existing), down, up


def test_keys_find_their_homes_in_overlapping_shards(live):
    asked = pa.array([9, 2, 7, None, 2, 11, 1])
    assert live[0].homes(asked).tolist() == [900, 200, -1, -1, 200, -1, 100]


def test_each_distinct_key_is_asked_once_in_few_calls(live, monkeypatch):
    monkeypatch.setattr(index, "_KEYS_A_CALL", 2)
    found, down, up = live
    assert found.homes(pa.array([1, 3, 5] * 1000)).tolist() == [100, 300, 500] * 1000
    assert up.lookups == down.lookups == 2 + 1


def test_keys_outside_all_shards_are_not_asked(live):
    assert live[0].homes(pa.array([0, 11], pa.int64())).tolist() == [-1, -1]
    assert live[2].lookups == 0


def test_text_is_no_whole_number(live):
    with pytest.raises(InvalidRequest, match=r"keys are string, but the table's live"):
        live[0].homes(pa.array(["1"]))
