"""What the tables of a load are: from Felis and a sidecar, or from the files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from qserv.catalog.felis import read_schema
from qserv.catalog.inference import infer
from qserv.catalog.sidecar import Entry, is_sidecar, no_entry, read_sidecar
from qserv.catalog.tables import Table
from qserv.errors import InvalidRequest
from qserv.ingest import files, readers


def tables_of(
    inputs: Mapping[str, Sequence[str | Path]],
    *,
    schema: str | Path | None = None,
    sidecar: str | Path | None = None,
) -> tuple[Table, ...]:
    """Return the tables that inputs are for.

    Parameters
    ----------
    inputs
        Table name -> Parquet and CSV files, directories or wildcards.
    schema
        A Felis file, whose sidecar stands beside it unless `sidecar` names another; or
        a sidecar alone, and columns are inferred from the first file of each table.
    sidecar
        A sidecar; without `schema`, columns are inferred.

    Returns
    -------
    tuple of Table
        Those of `inputs`, and from a Felis file also the directors that they name.

    Raises
    ------
    InvalidRequest
        If neither is given, or what they say is wrong or does not cover the inputs.
    BadContribution
        If columns are to be inferred from a file that cannot be read.
    """
    if schema is not None and is_sidecar(schema):
        schema, sidecar = None, schema
    if schema is not None:
        return read_schema(schema, sidecar, only=inputs.keys())
    if sidecar is None:
        raise InvalidRequest(
            "nothing says what the tables are: give a Felis schema, or a sidecar whose "
            "columns are then inferred from the files"
        )
    entries = read_sidecar(sidecar)
    return tuple(
        _inferred(name, found, entries.get(name.lower()), sidecar)
        for name, found in inputs.items()
    )


def _inferred(
    name: str, patterns: Sequence[str | Path], entry: Entry | None, sidecar: str | Path
) -> Table:
    if entry is None:
        raise no_entry(name, sidecar)
    first = files.find(name, patterns)[0]
    return infer(name, readers.schema_of(first), entry)
