"""Makes a table out of the columns that a file happens to have."""

from typing import Final

import pyarrow as pa

from qserv.catalog.sidecar import Entry
from qserv.catalog.tables import Column, DataType, Table
from qserv.errors import InvalidRequest


def infer(name: str, schema: pa.Schema, entry: Entry) -> Table:
    """Make a table from the columns that a file has.

    Parameters
    ----------
    name
        The table's name.
    schema
        Arrow schema of its first file; metadata ``unit``, ``ucd``, ``description`` of a
        field is taken over.
    entry
        How the rows are spread.

    Raises
    ------
    InvalidRequest
        If a column has a type that no column of ours holds.
    """
    return Table(
        name=name,
        kind=entry.kind,
        columns=tuple(_inferred(name, field) for field in schema),
        key=entry.key,
        director=entry.director,
        position=entry.position,
        second_key=entry.second_key,
        second_director=entry.second_director,
        id=entry.id,
    )


def datatype_of(arrow: pa.DataType) -> DataType | None:
    """Return the narrowest type of ours that holds all values of an Arrow type.

    Returns
    -------
    DataType or None
        None where there is none (lists, structs, binary …). ``uint64`` gives BIGINT,
        whose range is checked row by row.
    """
    if pa.types.is_dictionary(arrow):
        return datatype_of(arrow.value_type)
    for holds, datatype in _ARROW_TYPES:
        if holds(arrow):
            return datatype
    return None


def _small(arrow: pa.DataType) -> bool:
    return bool(arrow in {pa.int8(), pa.uint8(), pa.int16()})


def _text(arrow: pa.DataType) -> bool:
    return bool(arrow in {pa.string(), pa.large_string(), pa.string_view()})


_ARROW_TYPES: Final = (
    (pa.types.is_boolean, DataType.BOOLEAN),
    (_small, DataType.SMALLINT),
    (lambda arrow: arrow in {pa.uint16(), pa.int32()}, DataType.INTEGER),
    (pa.types.is_integer, DataType.BIGINT),
    (lambda arrow: arrow in {pa.float16(), pa.float32()}, DataType.REAL),
    (pa.types.is_float64, DataType.DOUBLE),
    (_text, DataType.VARCHAR),
    (pa.types.is_timestamp, DataType.TIMESTAMP),
    (pa.types.is_date, DataType.TIMESTAMP),
)


def _inferred(table: str, field: pa.Field) -> Column:
    if (datatype := datatype_of(field.type)) is None:
        raise InvalidRequest(
            f"table {table}: column {field.name} has type {field.type}, which "
            "no column can hold; leave it out or convert it"
        )
    said = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    return Column(
        name=field.name,
        datatype=datatype,
        unit=said.get("unit", ""),
        ucd=said.get("ucd", ""),
        description=said.get("description", ""),
    )
