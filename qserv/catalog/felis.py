"""Reads a schema: Felis YAML says what the columns are, a sidecar how rows are spread.

Felis is the schema language of the Rubin Observatory. It has no words for partitioning
and forbids keys of others, so these stand in a second file (`qserv.catalog.sidecar`).
Of Felis we read tables and columns; what else it says (constraints, indexes, column
groups …) is passed over.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qserv.catalog.sidecar import SIDECAR_SUFFIX, Entry, no_entry, read_sidecar
from qserv.catalog.tables import Column, DataType, Table
from qserv.catalog.yamlfile import Place, load
from qserv.errors import InvalidRequest

FELIS_TYPES: Final[Mapping[str, DataType]] = {
    "boolean": DataType.BOOLEAN,
    "byte": DataType.SMALLINT,
    "short": DataType.SMALLINT,
    "int": DataType.INTEGER,
    "long": DataType.BIGINT,
    "float": DataType.REAL,
    "double": DataType.DOUBLE,
    "char": DataType.VARCHAR,
    "string": DataType.VARCHAR,
    "unicode": DataType.VARCHAR,
    "text": DataType.VARCHAR,
    "timestamp": DataType.TIMESTAMP,
}
"""Felis datatype -> ours."""


def read_schema(
    path: Path | str,
    sidecar: Path | str | None = None,
    *,
    only: Collection[str] | None = None,
) -> tuple[Table, ...]:
    """Read the tables of a Felis file and its sidecar.

    Parameters
    ----------
    path
        The Felis YAML file.
    sidecar
        The sidecar; by default the file beside `path` that ends in ``.sidecar.yaml``.
    only
        Names of the tables that are wanted, in any case; None means all of the file.
        The directors that a wanted table names come with it.

    Returns
    -------
    tuple of Table
        In the order of the Felis file.

    Raises
    ------
    InvalidRequest
        If a file cannot be read or says something wrong, naming file and place inside,
        or if a wanted table has no sidecar entry.
    """
    path = Path(path)
    beside = path.with_suffix(SIDECAR_SUFFIX)
    stands = sidecar is not None or beside.exists()
    sidecar = Path(sidecar) if sidecar else beside
    entries = read_sidecar(sidecar) if stands else {}
    wanted = None if only is None else _with_directors(only, entries)
    tables = []
    for where, item in _felis_tables(path):
        name = where.text(item, "name")
        if wanted is not None and name.lower() not in wanted:
            continue
        if (entry := entries.get(name.lower())) is None:
            raise no_entry(name, sidecar)
        tables.append(_table(where, item, name, entry))
    return tuple(tables)


def _with_directors(only: Collection[str], entries: Mapping[str, Entry]) -> set[str]:
    wanted = {name.lower() for name in only}
    said = [entries[name] for name in wanted & entries.keys()]
    directors = {director for e in said for director in (e.director, e.second_director)}
    return wanted | {name.lower() for name in directors if name}


def _felis_tables(path: Path) -> Iterator[tuple[Place, Any]]:
    content, top = load(path), Place(path, "")
    if isinstance(content, dict) and isinstance(content.get("tables"), dict):
        raise top.at("tables").wrong(
            "is a mapping, as in a sidecar; Felis has a list of tables there"
        )
    for i, item in enumerate(top.sequence(content, "tables")):
        yield top.at("tables").at(i), item


def _table(where: Place, item: Any, name: str, entry: Entry) -> Table:
    columns = where.sequence(item, "columns")
    try:
        return Table(
            name=name,
            kind=entry.kind,
            columns=tuple(
                _column(where.at("columns").at(i), column)
                for i, column in enumerate(columns)
            ),
            key=entry.key,
            director=entry.director,
            position=entry.position,
            second_key=entry.second_key,
            second_director=entry.second_director,
            id=entry.id,
            description=where.text(item, "description", ""),
        )
    except InvalidRequest as error:
        if error.text.startswith(str(where.path)):
            raise
        raise InvalidRequest(f"{where.path}: {error.text}") from error


def _column(where: Place, item: Any) -> Column:
    datatype = where.text(item, "datatype")
    if datatype not in FELIS_TYPES:
        raise where.at("datatype").wrong(
            f"is {datatype}; qserv holds {', '.join(FELIS_TYPES)}"
        )
    unit = where.text(item, "ivoa:unit", "") or where.text(item, "fits:tunit", "")
    return Column(
        name=where.text(item, "name"),
        datatype=FELIS_TYPES[datatype],
        unit=unit,
        ucd=where.text(item, "ivoa:ucd", ""),
        description=where.text(item, "description", ""),
        nullable=where.truth(item, "nullable", default=True),
    )
