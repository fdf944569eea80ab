"""Drafts a schema for files: Felis YAML and a sidecar, to be checked and edited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qserv.catalog import felistext, names
from qserv.catalog.felistext import Notes
from qserv.catalog.inference import Guess, guess, infer
from qserv.catalog.sidecar import Entry, Reading, Sidecar, read_sidecar
from qserv.catalog.tables import Column, Table
from qserv.ingest.looking import LIMIT, Look, Stray, look


@dataclass(frozen=True, slots=True)
class Draft:
    """A schema that nobody has checked yet.

    Parameters
    ----------
    felis
        Felis YAML with the columns.
    sidecar
        How rows are spread and files read.
    tables
        What the two say.
    """

    felis: str
    sidecar: str
    tables: tuple[Table, ...]


def draft(
    name: str,
    inputs: Mapping[str, Sequence[str | Path]],
    *,
    sidecar: str | Path | None = None,
    limit: int = LIMIT,
) -> Draft:
    """Draft a schema.

    Parameters
    ----------
    name
        What the schema is called.
    inputs
        Table name -> files, directories or wildcards.
    sidecar
        A sidecar that says what is known already; the rest is guessed.
    limit
        Rows of text files that are read for their types, of each table.

    Raises
    ------
    BadContribution
        If a file cannot be read, or two files of a table do not fit together.
    InvalidRequest
        If a column has a type that none of ours holds.
    """
    said = read_sidecar(sidecar) if sidecar else Sidecar()
    looks = {
        table: look(
            table,
            found,
            _reading(said, table),
            mend=True,
            limit=limit,
        )
        for table, found in inputs.items()
    }
    guesses = {table: _guess(said, looks, table) for table in looks}
    tables = tuple(
        infer(each.sight, guesses[table].entry) for table, each in looks.items()
    )
    notes = Notes(
        tables={table.lower(): each.why for table, each in guesses.items()},
        columns=dict(_columns(tables, looks)),
    )
    reading = {table.lower(): each.reading for table, each in looks.items()}
    top = [line for table, each in looks.items() for line in _seen(table, each)]
    return Draft(
        felis=felistext.felis(
            name, tables, Notes(_FELIS + tuple(top), columns=notes.columns)
        ),
        sidecar=felistext.sidecar(
            tables,
            Notes(_SIDECAR, notes.tables),
            overlap=said.overlap,
            reading=reading,
        ),
        tables=tables,
    )


_FELIS = (
    "Guessed from files: check types, and write units, UCDs and descriptions.",
    "A type has to hold what later files have, too.",
)
_SIDECAR = ("Guessed from files: check each line before you load.",)


def _reading(said: Sidecar, table: str) -> Reading:
    entry = said.entries.get(table.lower())
    return entry.reading if entry else Reading()


def _guess(said: Sidecar, looks: Mapping[str, Look], table: str) -> Guess:
    entry: Entry | None = said.entries.get(table.lower())
    if entry is not None:
        return Guess(entry, ())
    others = [each.sight for other, each in looks.items() if other != table]
    return guess(looks[table].sight, others)


def _seen(table: str, each: Look) -> Sequence[str]:
    whole = "all" if each.whole else "not all"
    rows = f" (of texts {each.rows:,} rows, {whole})" if each.rows else ""
    plural = "file" if each.files == 1 else "files"
    return [f"{table}: {each.files:,} {plural} looked at{rows}."]


def _columns(
    tables: Sequence[Table], looks: Mapping[str, Look]
) -> dict[tuple[str, str], Sequence[str]]:
    """Return what is said of columns."""
    notes: dict[tuple[str, str], Sequence[str]] = {}
    for table in tables:
        each = looks[table.name]
        quoted = set(names.reserved(column.name for column in table.columns))
        for column in table.columns:
            lines = []
            if column.name in each.empty:
                lines.append("No file has a value here: say which type it has.")
            if (stray := each.strays.get(column.name)) is not None:
                lines += _mixed(column, stray)
            if column.name in quoted:
                lines.append("A reserved word: a query has to write it in quotes.")
            if lines:
                notes[table.name.lower(), column.name.lower()] = lines
    return notes


def _mixed(column: Column, stray: Stray) -> Sequence[str]:
    first = f"Numbers, but not in {stray.place(short=True)}."
    if column.datatype.is_numeric:
        return [first, "Such a row is a bad row."]
    return [first, "If it should be a number, say long or double: such rows are bad."]
