"""What the tables of a load are: live already, said in Felis, or inferred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qserv.catalog import felis
from qserv.catalog.inference import infer
from qserv.catalog.sidecar import (
    Entry,
    Reading,
    Sidecar,
    is_sidecar,
    no_entry,
    read_sidecar,
)
from qserv.catalog.tables import Table
from qserv.errors import InvalidRequest
from qserv.ingest.looking import look

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
        Overlap radius that the sidecar wishes for a new family, degrees.
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

    Raises
    ------
    InvalidRequest
        If nothing says what a table is, or what is said is wrong, or differs from the
        table that is live.
    BadContribution
        If columns are to be inferred from a file that cannot be read.
    """
    if schema is not None and is_sidecar(schema):
        schema, sidecar = None, schema
    if schema is not None:
        said = felis.sidecar_of(schema, sidecar)
        tables = felis.tables_of(Path(schema), said, only=inputs.keys())
    else:
        said = read_sidecar(sidecar) if sidecar else Sidecar()
        live = {table.name.lower(): table for table in known}
        tables = tuple(
            _table(name, found, said, live.get(name.lower()))
            for name, found in inputs.items()
        )
    reading = {name: entry.reading for name, entry in said.entries.items()}
    return Schema(tables, reading, said.overlap)


def _table(
    name: str, patterns: Sequence[str | Path], said: Sidecar, live: Table | None
) -> Table:
    entry = said.entries.get(name.lower())
    if live is not None:
        if entry is not None:
            _check_same(live, entry)
        return live
    if said.path is None:
        raise InvalidRequest(
            f"nothing says what table {name} is: give a Felis schema, or a sidecar "
            "whose columns are then inferred from the files; "
            f"`qserv schema infer {name}=FILES` writes both"
        )
    if entry is None:
        raise no_entry(name, said.path)
    seen = look(name, patterns, entry.reading)
    return infer(name, seen.sight.columns, entry)


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
