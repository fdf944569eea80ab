"""Arrow rows as IPC messages.

Rows go as IPC record batch messages without their schema, which is sent once. Messages
stay near half a MiB, so that gRPC's flow control can hold a fast sender back.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from qserv.catalog.tables import Column, DataType
from qserv.errors import CorruptData, InternalError, InvalidRequest

__all__ = [
    "MESSAGE_LIMIT",
    "Digest",
    "arrow_schema",
    "columns_of",
    "decode_batch",
    "decode_schema",
    "encode_batches",
    "encode_schema",
]

_ARROW: Final = {
    DataType.BOOLEAN: pa.bool_(),
    DataType.SMALLINT: pa.int16(),
    DataType.INTEGER: pa.int32(),
    DataType.BIGINT: pa.int64(),
    DataType.REAL: pa.float32(),
    DataType.DOUBLE: pa.float64(),
    DataType.VARCHAR: pa.string(),
    DataType.TIMESTAMP: pa.timestamp("us"),
    DataType.HUGEINT: pa.decimal128(38, 0),
}
_DATATYPE: Final = {arrow: datatype for datatype, arrow in _ARROW.items()}

_SHAPES: Final = 256
"""Schemas that are kept: queries differ in their values more than in their columns."""
MESSAGE_LIMIT: Final = 2**20
"""No message is larger, unless a single row is."""


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of columns; its fields carry what we know of them."""
    return _arrow_schema(tuple(columns))


@lru_cache(_SHAPES)
def _arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([_field(column) for column in columns])


def _field(column: Column) -> pa.Field:
    meaning = {
        "unit": column.unit,
        "ucd": column.ucd,
        "description": column.description,
        "length": str(column.length or ""),
    }
    metadata = {key: text for key, text in meaning.items() if text}
    return pa.field(
        column.name, _ARROW[column.datatype], column.nullable, metadata or None
    )


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """Return the columns that an Arrow schema describes.

    Raises
    ------
    InvalidRequest
        If a field has an Arrow type that `arrow_schema` never gives.
    """
    return tuple(_column(field) for field in schema)


def _column(field: pa.Field) -> Column:
    if (datatype := _DATATYPE.get(field.type)) is None:
        known = ", ".join(str(arrow) for arrow in _DATATYPE)
        raise InvalidRequest(
            f"column {field.name} has Arrow type {field.type}; "
            f"cast it to one of {known}"
        )
    metadata = {key.decode(): text.decode() for key, text in _metadata(field)}
    return Column(
        name=field.name,
        datatype=datatype,
        unit=metadata.get("unit", ""),
        ucd=metadata.get("ucd", ""),
        description=metadata.get("description", ""),
        nullable=field.nullable,
        length=_length(metadata.get("length", "")),
    )


def _length(text: str) -> int | None:
    # Files of others may use the word as they like.
    return int(text) if text.isascii() and text.isdigit() and int(text) else None


def _metadata(field: pa.Field) -> Iterable[tuple[bytes, bytes]]:
    return (field.metadata or {}).items()


def encode_schema(schema: pa.Schema) -> bytes:
    """Turn an Arrow schema into its IPC message."""
    return bytes(schema.serialize())


@lru_cache(_SHAPES)
def decode_schema(data: bytes) -> pa.Schema:
    """Read the IPC message of an Arrow schema.

    Raises
    ------
    CorruptData
        If it is none.
    """
    try:
        return pa.ipc.read_schema(pa.py_buffer(data))
    except (pa.ArrowException, OSError, EOFError) as error:
        raise CorruptData(f"a schema arrived unreadable: {error}") from error


def encode_batches(
    rows: pa.Table | pa.RecordBatch, target_bytes: int = MESSAGE_LIMIT // 2
) -> Iterator[bytes]:
    """Turn rows into IPC record batch messages without schema.

    Parameters
    ----------
    rows
        In the types that `arrow_schema` gives.
    target_bytes
        Rows of a message have about this many bytes, at most twice as many, unless
        a single row is larger.

    Yields
    ------
    bytes
        Messages with all rows in order; none where there are no rows.
    """
    if any(pa.types.is_dictionary(field.type) for field in rows.schema):
        raise InternalError("dictionary-encoded columns do not travel; cast them")
    whole = isinstance(rows, pa.Table)
    for batch in rows.combine_chunks().to_batches() if whole else [rows]:
        for piece in _pieces(batch, target_bytes):
            yield bytes(piece.serialize())


def _pieces(batch: pa.RecordBatch, target_bytes: int) -> Iterator[pa.RecordBatch]:
    rows = batch.num_rows
    if rows == 0:
        return
    if rows == 1 or batch.nbytes <= target_bytes * 3 // 2:
        yield batch
        return
    # Equal shares for rows of equal size; a share with long texts is cut again.
    share = -(-rows // -(-batch.nbytes // target_bytes))
    for start in range(0, rows, share):
        yield from _pieces(batch.slice(start, share), target_bytes)


def decode_batch(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Read one IPC record batch message.

    Parameters
    ----------
    data
        The message; the batch refers to its memory.
    schema
        The schema that was sent before.

    Raises
    ------
    CorruptData
        If it is no record batch of that schema.
    """
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
        batch.validate()
    except (pa.ArrowException, OSError, EOFError) as error:
        raise CorruptData(f"rows arrived unreadable: {error}") from error
    return batch


class Digest:
    """The running sha256 of the messages of a batch or of a result, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take in the next message."""
        self._hash.update(data)

    def value(self) -> bytes:
        """Return the digest of all messages so far, 32 bytes."""
        return self._hash.digest()
