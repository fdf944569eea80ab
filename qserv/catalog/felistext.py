"""Writes tables as people edit them: Felis YAML, and a sidecar.

What is written is read back as the same tables by `qserv.catalog.felis`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from qserv.catalog import names
from qserv.catalog.sidecar import Reading
from qserv.catalog.tables import Column, DataType, Table, TableKind

_TYPES: Final[Mapping[DataType, str]] = {
    DataType.BOOLEAN: "boolean",
    DataType.SMALLINT: "short",
    DataType.INTEGER: "int",
    DataType.BIGINT: "long",
    DataType.REAL: "float",
    DataType.DOUBLE: "double",
    DataType.TIMESTAMP: "timestamp",
}
_SPREAD: Final = ("key", "director", "second_key", "second_director", "id")


@dataclass(frozen=True, slots=True)
class Notes:
    """What is said in comments.

    Parameters
    ----------
    top
        Lines above everything.
    tables
        Lower-case table name -> lines above its entry.
    columns
        (Lower-case table name, lower-case column name) -> lines above the column.
    """

    top: Sequence[str] = ()
    tables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)


NOTHING: Final = Notes()


def felis(name: str, tables: Sequence[Table], notes: Notes = NOTHING) -> str:
    """Write tables as Felis YAML.

    Parameters
    ----------
    name
        The schema's name, such as that of a release.
    tables
        The tables.
    notes
        Comments.
    """
    lines = [*_comments(notes.top), f"name: {scalar(name)}", f'"@id": "#{name}"']
    lines.append("tables:")
    for table in tables:
        lines += _table(table, notes)
    return "\n".join(lines) + "\n"


def sidecar(
    tables: Sequence[Table],
    notes: Notes = NOTHING,
    *,
    overlap: float | None = None,
    reading: Mapping[str, Reading] | None = None,
) -> str:
    """Write how the rows of tables are spread, and their files read.

    Parameters
    ----------
    tables
        The tables.
    notes
        Comments.
    overlap
        Overlap radius of the family, degrees.
    reading
        Lower-case table name -> how its files are read.
    """
    lines = [*_comments(notes.top)]
    if overlap is not None:
        arcsec = repr(round(overlap * 3600, 9)).removesuffix(".0")
        lines.append(f"overlap: {arcsec}  # arcsec")
    lines.append("tables:")
    for table in tables:
        told = notes.tables.get(table.name.lower(), ())
        lines += [*_comments(told, 2), f"  {scalar(table.name)}:"]
        entry = _entry(table) | _read((reading or {}).get(table.name.lower()))
        lines += [f"    {key}: {value}" for key, value in entry.items()]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """Return a text as YAML reads it back."""
    if names.said(text) == text and yaml.safe_load(text) == text:
        return text
    return json.dumps(text, ensure_ascii=False)


def _comments(lines: Sequence[str], indent: int = 0) -> Iterator[str]:
    return (f"{' ' * indent}# {line}" for line in lines)


def _table(table: Table, notes: Notes) -> Iterator[str]:
    yield f"  - name: {scalar(table.name)}"
    yield f'    "@id": "#{table.name}"'
    if table.description:
        yield f"    description: {_quoted(table.description)}"
    if table.kind is TableKind.DIRECTOR:
        yield f'    primaryKey: "#{table.name}.{table.column(table.key or "").name}"'
    yield "    columns:" if table.columns else "    columns: []"
    for column in table.columns:
        place = (table.name.lower(), column.name.lower())
        yield from _comments(notes.columns.get(place, ()), 6)
        yield from _column(table, column)


def _column(table: Table, column: Column) -> Iterator[str]:
    yield f"      - name: {scalar(column.name)}"
    yield f'        "@id": "#{table.name}.{column.name}"'
    if column.datatype is DataType.VARCHAR:
        yield f"        datatype: {'string' if column.length else 'text'}"
    else:
        yield f"        datatype: {_TYPES[column.datatype]}"
    if column.length:
        yield f"        length: {column.length}"
    if not column.nullable:
        yield "        nullable: false"
    for key, value, valid in (
        ("ivoa:ucd", column.ucd, _is_ucd),
        ("ivoa:unit", column.unit, _is_unit),
    ):
        if value and valid(value):
            yield f"        {key}: {_quoted(value)}"
        elif value:
            yield f"        # {key}: {_quoted(value)} is none that Felis knows"
    if column.description:
        yield f"        description: {_quoted(column.description)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _is_unit(text: str) -> bool:
    from astropy import units

    try:
        units.Unit(text)
    except ValueError:
        return False
    return True


def _is_ucd(text: str) -> bool:
    from astropy.io.votable import ucd

    try:
        ucd.parse_ucd(text, check_controlled_vocabulary=True, has_colon=";" in text)
    except ValueError:
        return False
    return True


def _entry(table: Table) -> dict[str, str]:
    entry = {"kind": str(table.kind)}
    for what in _SPREAD:
        if value := getattr(table, what):
            entry[what] = scalar(value)
    if table.position:
        entry["position"] = f"[{', '.join(map(scalar, table.position))}]"
    if table.orphans:
        entry["orphans"] = "keep"
    return entry


def _read(reading: Reading | None) -> dict[str, str]:
    if reading is None:
        return {}
    said: dict[str, Any] = {
        "ignore": list(reading.ignore),
        "rename": dict(reading.rename),
        "read": dict(reading.options),
    }
    # JSON is YAML, and quotes whatever could be taken for something else.
    return {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in said.items()
        if value
    }
