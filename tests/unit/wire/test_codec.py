"""Rows survive the wire, in messages of a bounded size."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserv.catalog.tables import Column, DataType
from qserv.errors import CorruptData, InternalError, InvalidRequest
from qserv.wire import codec

EVERY_TYPE = tuple(
    Column(f"c_{datatype.lower()}", datatype, "deg", "pos.eq.ra", "What it is.")
    for datatype in DataType
)


def sky(rows: int) -> pa.Table:
    schema = codec.arrow_schema(
        [
            Column("id", DataType.BIGINT, nullable=False),
            Column("ra", DataType.DOUBLE, "deg", "pos.eq.ra;meta.main"),
            Column("good", DataType.BOOLEAN),
            Column("band", DataType.VARCHAR),
        ]
    )
    numbers = np.arange(rows)
    return pa.table(
        {
            "id": numbers,
            "ra": numbers / 7,
            "good": numbers % 3 == 0,
            "band": pa.array([None if n % 5 == 0 else f"band{n}" for n in numbers]),
        },
        schema=schema,
    )


def travel(rows: pa.Table, target_bytes: int) -> pa.Table:
    schema = codec.decode_schema(codec.encode_schema(rows.schema))
    messages = codec.encode_batches(rows, target_bytes)
    return pa.Table.from_batches(
        [codec.decode_batch(message, schema) for message in messages], schema
    )


def test_schema_keeps_type_and_meaning_of_every_datatype():
    schema = codec.arrow_schema(EVERY_TYPE)
    there = codec.decode_schema(codec.encode_schema(schema))
    assert codec.columns_of(there) == EVERY_TYPE


@given(
    rows=st.integers(0, 300),
    chunk=st.integers(1, 100),
    start=st.integers(0, 300),
    target=st.integers(1, 5000),
)
def test_rows_arrive_whole_and_in_order(rows, chunk, start, target):
    table = sky(rows).slice(start)
    ragged = pa.Table.from_batches(table.to_batches(max_chunksize=chunk), table.schema)
    assert travel(ragged, target).equals(table)


def test_messages_are_near_the_target_and_slices_leave_their_parent_behind():
    table = sky(200_000)
    sizes = [len(m) for m in codec.encode_batches(table)]
    assert max(sizes) <= codec.MESSAGE_LIMIT
    assert min(sizes[:-1]) > codec.MESSAGE_LIMIT // 8
    (one,) = codec.encode_batches(table.slice(123_456, 10))
    assert len(one) < 2000


def test_a_few_long_texts_do_not_make_long_messages():
    texts = ["x" * 400_000 if n % 1000 == 0 else "y" for n in range(10_000)]
    batch = pa.record_batch({"text": texts})
    sizes = [len(m) for m in codec.encode_batches(batch)]
    assert max(sizes) <= codec.MESSAGE_LIMIT


def test_a_row_larger_than_the_limit_travels_alone():
    batch = pa.record_batch({"text": ["a", "x" * 3_000_000, "b"]})
    messages = list(codec.encode_batches(batch))
    rows = [codec.decode_batch(m, batch.schema) for m in messages]
    assert pa.Table.from_batches(rows) == pa.Table.from_batches([batch])
    assert [r.num_rows for r in rows] == [1, 1, 1]


def test_an_empty_result_has_no_message():
    assert list(codec.encode_batches(sky(0))) == []


@pytest.mark.parametrize(
    "harm",
    [
        lambda message: message[: len(message) // 2],
        lambda message: b"",
        lambda message: b"\x00" * 64,
    ],
    ids=["truncated", "empty", "zeros"],
)
def test_unreadable_rows_are_corrupt_data(harm):
    (message,) = codec.encode_batches(sky(100))
    with pytest.raises(CorruptData):
        codec.decode_batch(harm(message), sky(0).schema)


def test_rows_of_another_schema_are_corrupt_data():
    (message,) = codec.encode_batches(pa.record_batch({"id": pa.array([1], "int8")}))
    with pytest.raises(CorruptData):
        codec.decode_batch(message, pa.schema({"id": pa.int64()}))


def test_an_unreadable_schema_is_corrupt_data():
    with pytest.raises(CorruptData):
        codec.decode_schema(b"\x00\x01")


def test_dictionary_encoded_rows_are_our_bug():
    batch = pa.record_batch({"band": pa.array(["g", "r"]).dictionary_encode()})
    with pytest.raises(InternalError, match="cast them"):
        next(codec.encode_batches(batch))


def test_a_foreign_arrow_type_is_named_with_its_column():
    with pytest.raises(InvalidRequest, match=r"column list has Arrow type list<"):
        codec.columns_of(pa.schema({"list": pa.list_(pa.int64())}))


def test_digest_sees_order_and_every_bit():
    def digest(*messages):
        digest = codec.Digest()
        for message in messages:
            digest.update(message)
        return digest.value()

    assert digest(b"ab", b"c") == digest(b"a", b"bc")
    assert len({digest(b"ab"), digest(b"ba"), digest(b"ac"), digest()}) == 4
