"""Catalog values as protobuf messages, and back."""

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from qserv.catalog.bounds import Bounds, Ends
from qserv.catalog.snapshot import ManifestEntry, Role
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.errors import InvalidRequest, InvalidValue
from qserv.wire.v1 import common_pb2, czar_pb2

__all__ = [
    "RemoteSource",
    "Source",
    "bounds_from_proto",
    "bounds_to_proto",
    "columns_from_proto",
    "columns_to_proto",
    "entry_from_proto",
    "entry_to_proto",
    "keys_from_proto",
    "keys_to_proto",
    "source_from_proto",
    "source_to_proto",
    "table_from_proto",
    "table_to_proto",
    "value_from_proto",
    "value_to_proto",
]


def columns_to_proto(columns: Iterable[Column]) -> list[common_pb2.ColumnDescription]:
    """Turn columns into messages."""
    return [
        common_pb2.ColumnDescription(
            name=column.name,
            datatype=column.datatype,
            unit=column.unit,
            ucd=column.ucd,
            description=column.description,
            nullable=column.nullable,
            length=column.length or 0,
        )
        for column in columns
    ]


def columns_from_proto(
    messages: Iterable[common_pb2.ColumnDescription],
) -> tuple[Column, ...]:
    """Read columns from messages.

    Raises
    ------
    InvalidRequest
        If a datatype is unknown here.
    """
    return tuple(
        Column(
            name=message.name,
            datatype=_datatype(message),
            unit=message.unit,
            ucd=message.ucd,
            description=message.description,
            nullable=message.nullable,
            length=message.length or None,
        )
        for message in messages
    )


def _datatype(message: common_pb2.ColumnDescription) -> DataType:
    if message.datatype not in set(DataType):
        raise InvalidRequest(
            f"column {message.name}: there is no datatype {message.datatype!r}; "
            f"datatypes are {', '.join(DataType)}"
        )
    return DataType(message.datatype)


def table_to_proto(table: Table) -> czar_pb2.TableDefinition:
    """Turn a table's definition into its message."""
    return czar_pb2.TableDefinition(
        name=table.name,
        kind=table.kind,
        columns=columns_to_proto(table.columns),
        key=table.key or "",
        director=table.director or "",
        position=table.position or (),
        description=table.description,
        second_key=table.second_key or "",
        second_director=table.second_director or "",
        id=table.id or "",
        orphans=table.orphans,
    )


def table_from_proto(message: czar_pb2.TableDefinition) -> Table:
    """Read a table's definition from its message.

    Raises
    ------
    InvalidRequest
        If it is not a table, as `Table` itself says.
    """
    if message.kind not in set(TableKind):
        raise InvalidRequest(
            f"table {message.name}: there is no kind {message.kind!r}; "
            f"kinds are {', '.join(TableKind)}"
        )
    if len(message.position) not in {0, 2}:
        raise InvalidRequest(
            f"table {message.name}: a position is two columns, longitude and latitude"
        )
    return Table(
        name=message.name,
        kind=TableKind(message.kind),
        columns=columns_from_proto(message.columns),
        key=message.key or None,
        director=message.director or None,
        position=(message.position[0], message.position[1])
        if message.position
        else None,
        description=message.description,
        second_key=message.second_key or None,
        second_director=message.second_director or None,
        id=message.id or None,
        orphans=message.orphans,
    )


Value = str | int | float | bool


def value_to_proto(value: Value) -> common_pb2.Value:
    """Turn a value bound to SQL into its message.

    Raises
    ------
    InvalidValue
        If a whole number does not fit in 64 bits, or the type is none of ours.
    """
    if isinstance(value, str):
        return common_pb2.Value(text=value)
    if isinstance(value, bool):
        return common_pb2.Value(truth=value)
    if isinstance(value, numbers.Integral):
        if not -(2**63) <= value < 2**63:
            raise InvalidValue(f"{value} does not fit in 64 bits")
        return common_pb2.Value(integer=int(value))
    if isinstance(value, numbers.Real):
        return common_pb2.Value(real=float(value))
    raise InvalidValue(f"a value of type {type(value).__name__} cannot be bound")


def value_from_proto(message: common_pb2.Value) -> Value:
    """Read a value from its message.

    Raises
    ------
    InvalidRequest
        If the message holds none.
    """
    match message.WhichOneof("kind"):
        case "text":
            return message.text
        case "integer":
            return message.integer
        case "real":
            return message.real
        case "truth":
            return message.truth
        case None:
            raise InvalidRequest("a value without kind arrived")


def keys_to_proto(keys: Sequence[int | str]) -> common_pb2.Keys:
    """Turn director keys, all whole numbers or all texts, into their message."""
    texts = [key for key in keys if isinstance(key, str)]
    integers = [int(key) for key in keys if not isinstance(key, str)]
    if texts and integers:
        raise InvalidValue("director keys are whole numbers or texts, never both")
    return common_pb2.Keys(integers=integers, texts=texts)


def keys_from_proto(message: common_pb2.Keys) -> tuple[int | str, ...]:
    """Read director keys from their message."""
    return (*message.integers, *message.texts)


def entry_to_proto(entry: ManifestEntry) -> common_pb2.ManifestEntry:
    """Turn a manifest entry into its message."""
    valid_from, valid_to = entry.validity
    return common_pb2.ManifestEntry(
        role=_ROLE[entry.role],
        chunk=entry.chunk,
        path=entry.path,
        rows=entry.rows,
        live_rows=entry.live_rows,
        size=entry.size,
        sha256=bytes.fromhex(entry.sha256),
        bounds=[
            common_pb2.Bound(
                column=column, low=value_to_proto(low), high=value_to_proto(high)
            )
            for column, (low, high) in entry.bounds.items()
        ],
        offset=entry.offset,
        valid_from=valid_from,
        valid_to=valid_to,
    )


def entry_from_proto(message: common_pb2.ManifestEntry) -> ManifestEntry:
    """Read a manifest entry from its message.

    Raises
    ------
    InvalidRequest
        If its role is unknown here.
    """
    return ManifestEntry(
        role=_known(message.role, _ROLE, "role"),
        chunk=message.chunk,
        path=message.path,
        rows=message.rows,
        live_rows=message.live_rows,
        size=message.size,
        sha256=message.sha256.hex(),
        bounds={
            bound.column: (value_from_proto(bound.low), value_from_proto(bound.high))
            for bound in message.bounds
        },
        offset=message.offset if message.HasField("offset") else None,
        validity=(
            message.valid_from,
            message.valid_to if message.HasField("valid_to") else None,
        ),
    )


def bounds_to_proto(table: str, bounds: Bounds) -> czar_pb2.TableBounds:
    """Turn the bounds of a table's columns into their message."""
    columns = []
    for name, ends in bounds.items():
        low, high = (None, None) if ends is None else map(value_to_proto, ends)
        columns.append(common_pb2.Bound(column=name, low=low, high=high))
    return czar_pb2.TableBounds(table=table, columns=columns)


def bounds_from_proto(message: czar_pb2.TableBounds) -> dict[str, Ends | None]:
    """Read the bounds of a table's columns from their message."""
    return {bound.column: _ends(bound) for bound in message.columns}


def _ends(bound: common_pb2.Bound) -> Ends | None:
    if not bound.HasField("low"):
        return None
    return value_from_proto(bound.low), value_from_proto(bound.high)


_ROLE: Final = {
    Role.BASE: common_pb2.ROLE_BASE,
    Role.DELTA: common_pb2.ROLE_DELTA,
    Role.OVERLAP: common_pb2.ROLE_OVERLAP,
    Role.INDEX: common_pb2.ROLE_INDEX,
}

_EXTENT: Final = {
    "own": common_pb2.EXTENT_OWN,
    "own+overlap": common_pb2.EXTENT_OWN_AND_OVERLAP,
    "halo": common_pb2.EXTENT_HALO,
    "copy": common_pb2.EXTENT_COPY,
}


def _known(number: int, names: dict[Any, Any], what: str) -> Any:
    for name, known in names.items():
        if known == number:
            return name
    raise InvalidRequest(f"{what} {number} is unknown to this version of qserv")


class Source(Protocol):
    """What `qserv.plan.plan.ScanSource` has; the wire knows no plan."""

    @property
    def release(self) -> str:
        """Name of the release."""

    @property
    def table(self) -> str:
        """Name of the table."""

    @property
    def manifest_version(self) -> int:
        """Version of the table's list of files."""

    @property
    def extent(self) -> str:
        """Which rows of each chunk."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The stored columns that are read."""

    @property
    def reach(self) -> float:
        """Of a halo, in degrees."""


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A scan source as a worker gets it.

    Parameters
    ----------
    release, table, manifest_version, extent, columns, reach
        As in `qserv.plan.plan.ScanSource`; `extent` equals one of its `Extent`.
    family, tree_version
        The chunk tree that the task's chunks belong to.
    """

    release: str
    table: str
    manifest_version: int
    extent: str
    columns: tuple[Column, ...]
    family: str
    tree_version: int
    reach: float = 0.0


def source_to_proto(
    source: Source, *, family: str, tree_version: int
) -> common_pb2.ScanSource:
    """Turn a plan's scan source over a chunk tree into its message."""
    return common_pb2.ScanSource(
        release=source.release,
        table=source.table,
        family=family,
        tree_version=tree_version,
        manifest_version=source.manifest_version,
        extent=_EXTENT[str(source.extent)],
        columns=columns_to_proto(source.columns),
        reach=source.reach,
    )


def source_from_proto(message: common_pb2.ScanSource) -> RemoteSource:
    """Read a scan source from its message.

    Raises
    ------
    InvalidRequest
        If its extent is unknown here.
    """
    return RemoteSource(
        release=message.release,
        table=message.table,
        manifest_version=message.manifest_version,
        extent=_known(message.extent, _EXTENT, "extent"),
        columns=columns_from_proto(message.columns),
        family=message.family,
        tree_version=message.tree_version,
        reach=message.reach,
    )
