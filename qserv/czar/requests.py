"""What a loader asked for, as it is written down and read again."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from qserv.catalog.replacing import Replaced
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.czar.beginning import Beginning

_RADII: Final = "radii"


def to_json(asked: Beginning, radii: Mapping[str, float]) -> dict[str, Any]:
    """Return what a loader asks for as values that JSON can hold.

    Parameters
    ----------
    asked
        What it asks for.
    radii
        Table -> its overlap radius in degrees, as the loader is told.
    """
    plain = {f.name: getattr(asked, f.name) for f in fields(Beginning)}
    tables = [
        {f.name: getattr(table, f.name) for f in fields(Table) if f.init}
        | {"columns": [asdict(column) for column in table.columns]}
        for table in asked.tables
    ]
    replaces = list(map(asdict, asked.replaces))
    return plain | {"tables": tables, "replaces": replaces, _RADII: dict(radii)}


def from_json(plain: Mapping[str, Any]) -> tuple[Beginning, dict[str, float] | None]:
    """Read what a loader asked for again, and the radii that it was told.

    An earlier qserv did not write the radii.
    """
    tables = tuple(_table(dict(table)) for table in plain["tables"])
    lists = {
        "tables": tables,
        "inputs": (),
        "input_ids": tuple(plain["input_ids"]),
        # A load of an earlier qserv replaces nothing.
        "replaces": tuple(map(_replaced, plain.get("replaces", ()))),
    }
    said = {name: value for name, value in plain.items() if name != _RADII}
    return Beginning(**said | lists), plain.get(_RADII)


def _replaced(plain: dict[str, Any]) -> Replaced:
    lists = {
        name: tuple(each) for name, each in plain.items() if isinstance(each, list)
    }
    return Replaced(**plain | lists)


def _table(plain: dict[str, Any]) -> Table:
    plain["kind"] = TableKind(plain["kind"])
    plain["position"] = plain["position"] and tuple(plain["position"])
    plain["columns"] = tuple(
        Column(**column | {"datatype": DataType(column["datatype"])})
        for column in plain["columns"]
    )
    return Table(**plain)
