"""What the tables of a load are: live already, said in Felis, or inferred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from qserv.catalog import felis
from qserv.catalog.inference import infer
from qserv.catalog.sidecar import (
    Entry,
    Reading,
    Sidecar,
    is_sidecar,
    read_sidecar,
)
from qserv.catalog.tables import Table
from qserv.errors import BadContribution, InvalidRequest
from qserv.ingest.looking import Look, look

_NO_DEGREES: Final = frozenset(
    {
        *("rad", "radian", "radians", "h", "hr", "hour", "hours", "hourangle"),
        *("arcmin", "arcsec", "mas", "uas"),
    }
)
"""Units of angles, in lower case, whose values could pass for degrees."""

Inputs = Mapping[str, Sequence[str | Path]]
"""Table name -> files, directories or wildcards."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What is known of the tables of a load before it begins.

    Parameters
    ----------
    tables
        Those to load, and from a Felis file also the directors that they name.
    reading
        Lower-case table name -> how its files are read, where anything was said.
    overlap
        Overlap radius that the sidecar wishes for new tables, degrees.
    """

    tables: tuple[Table, ...]
    reading: Mapping[str, Reading]
    overlap: float | None = None


def tables_of(
    inputs: Inputs,
    *,
    schema: str | Path | None = None,
    sidecar: str | Path | None = None,
    known: Sequence[Table] = (),
) -> tuple[Table, ...]:
    """Return the tables that inputs are for; see `described`."""
    return described(inputs, schema=schema, sidecar=sidecar, known=known).tables


def described(
    inputs: Inputs,
    *,
    schema: str | Path | None = None,
    sidecar: str | Path | None = None,
    known: Sequence[Table] = (),
    reading: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Schema:
    """Find out what the tables of inputs are, and how their files are read.

    Parameters
    ----------
    inputs
        What is loaded.
    schema
        A Felis file, whose sidecar stands beside it unless `sidecar` names another; or
        a sidecar alone.
    sidecar
        A sidecar; without `schema`, columns are inferred from all files of a table.
    known
        The tables that the release has. Without `schema` they are taken as they are,
        and nothing is inferred: the next files may look different from the first.
    reading
        How all files are read; it goes before what the sidecar says.
    replace
        Whether a table of the sidecar may become another one than it was.

    Raises
    ------
    InvalidRequest
        If nothing says what a table is, or what is said is wrong, or differs from the
        table that is live, or a column cannot be a position, or a key has another type
        than that of its director.
    BadContribution
        If columns are to be inferred from a file that cannot be read.
    """
    if schema is not None and is_sidecar(schema):
        schema, sidecar = None, schema
    if schema is not None:
        said = felis.sidecar_of(schema, sidecar)
        tables, looks = felis.tables_of(Path(schema), said, only=inputs.keys()), {}
    else:
        said = read_sidecar(sidecar) if sidecar else Sidecar()
        live = {table.name.lower(): table for table in known}
        if replace:
            live = {k: table for k, table in live.items() if k not in said.entries}
        looks = {
            name.lower(): _looked(name, found, _entry(name, said, known), reading)
            for name, found in inputs.items()
            if name.lower() not in live
        }
        tables = tuple(
            _live(live[name], said) if name in live else _inferred(looks[name], said)
            for name in map(str.lower, inputs)
        )
    there = {table.name.lower() for table in known}
    _check_positions([each for each in tables if each.name.lower() not in there])
    _check_keys(tables, known, looks)
    return Schema(
        tables,
        {name: entry.reading for name, entry in said.entries.items()},
        said.overlap,
    )


def _entry(name: str, said: Sidecar, known: Sequence[Table]) -> Entry:
    if said.path is None:
        close = get_close_matches(name, [table.name for table in known], 1)
        hint = f"; did you mean {close[0]}, which the release has?" if close else ""
        raise InvalidRequest(
            f"nothing says what table {name} is: give a Felis schema, or a sidecar "
            "whose columns are then inferred from the files; "
            f"`qserv schema infer {name}=FILES` writes both{hint}"
        )
    return said.entry(name)


def _looked(
    name: str,
    patterns: Sequence[str | Path],
    entry: Entry,
    reading: Mapping[str, Any] | None,
) -> Look:
    options = {**entry.reading.options, **(reading or {})}
    seen = look(name, patterns, replace(entry.reading, options=options))
    if len(seen.empty) == len(seen.sight.columns):
        raise BadContribution(
            f"table {name}: no column of its files has a value, so nothing says its "
            "types; give files with rows, or a Felis schema"
        )
    return seen


def _live(table: Table, said: Sidecar) -> Table:
    if (entry := said.entries.get(table.name.lower())) is not None:
        _check_same(table, entry)
    return table


def _inferred(seen: Look, said: Sidecar) -> Table:
    return infer(seen.sight, said.entry(seen.sight.table))


def _check_positions(tables: Sequence[Table]) -> None:
    for table in tables:
        for name in table.position or ():
            column = table.column(name)
            if not column.datatype.is_numeric:
                raise InvalidRequest(
                    f"table {table.name}: {column.name} is {column.datatype}, but a "
                    "position is two numbers, in degrees: correct `position:` in the "
                    "sidecar, or convert the files"
                )
            if column.unit.lower() in _NO_DEGREES:
                raise InvalidRequest(
                    f"table {table.name}: {column.name} is in {column.unit}, but a "
                    "position is in degrees: convert it, or say another `position:` "
                    "in the sidecar"
                )


def _check_keys(
    tables: Sequence[Table], known: Sequence[Table], looks: Mapping[str, Look]
) -> None:
    """Refuse keys of another type than those that they name."""
    named = {table.name.lower(): table for table in (*known, *tables)}
    for table in tables:
        for key, link in table.links:
            director = named.get(link.lower())
            if director is None or director.key is None:
                continue
            places = (table, key), (director, director.key)
            mine, theirs = (each.column(name) for each, name in places)
            if mine.datatype.is_integer != theirs.datatype.is_integer:
                raise InvalidRequest(
                    f"table {table.name}: key {mine.name} is {mine.datatype}, but "
                    f"{theirs.name} of its director {director.name} is "
                    f"{theirs.datatype}: only keys of one type can be the same"
                    + "".join(_strayed(looks, *place) for place in places)
                )


def _strayed(looks: Mapping[str, Look], table: Table, name: str) -> str:
    """Say which value made a column of numbers one of texts."""
    seen, column = looks.get(table.name.lower()), table.column(name).name
    if seen is None or (stray := seen.strays.get(column)) is None:
        return ""
    return (
        f"; {table.name}.{column} is text because of {stray.place()}: mend that row, "
        "or say `datatype: long` in a Felis schema, and such rows are bad rows"
    )


def _check_same(live: Table, entry: Entry) -> None:
    for what, value in entry.spread.items():
        have = getattr(live, what)
        if _folded(have) != _folded(value):
            raise InvalidRequest(
                f"table {live.name} exists with {what} {have}, not {value}; correct "
                "the sidecar, or leave the table out of it"
            )


def _folded(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_folded, value))
    return value.lower() if isinstance(value, str) else value
