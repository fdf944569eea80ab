"""Reads a schema: Felis YAML says what the columns are, a sidecar how rows are spread.

Felis is the schema language of the Rubin Observatory, read by its own library. It has
no words for partitioning and forbids keys of others, so these stand in a second file
(`qserv.catalog.sidecar`). We take tables and columns, also those that refer to another
file (``columnRefs``); what else it says (constraints, indexes, column groups …) is
checked by the library and passed over.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qserv.catalog.names import renamed
from qserv.catalog.sidecar import SIDECAR_SUFFIX, Entry, Sidecar, read_sidecar
from qserv.catalog.tables import Column, DataType, Table
from qserv.catalog.yamlfile import Place, load
from qserv.errors import InvalidRequest

if TYPE_CHECKING:
    from felis.datamodel import Schema
    from pydantic import ValidationError

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
_NOT_HELD: Final = frozenset({"binary"})
_ALL_TYPES: Final = (*FELIS_TYPES, *sorted(_NOT_HELD))


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
    return tables_of(Path(path), sidecar_of(path, sidecar), only=only)


def sidecar_of(path: Path | str, sidecar: Path | str | None = None) -> Sidecar:
    """Read the sidecar of a Felis file: the one named, or the one beside it."""
    beside = Path(path).with_suffix(SIDECAR_SUFFIX)
    if sidecar is None and not beside.exists():
        return Sidecar(beside)
    return read_sidecar(sidecar or beside)


def tables_of(
    path: Path, sidecar: Sidecar, *, only: Collection[str] | None = None
) -> tuple[Table, ...]:
    """Read the tables of a Felis file; see `read_schema`."""
    content, top = load(path), Place(path)
    wanted = None if only is None else _with_directors(only, sidecar.entries)
    _check_shape(top, content)
    _check_resources(top, content)
    schema = _validated(top, content)
    _check_there(path, only or (), [table.name for table in schema.tables])
    return tuple(
        _table(top.at("tables", i), table, sidecar.entry(table.name))
        for i, table in enumerate(schema.tables)
        if wanted is None or table.name.lower() in wanted
    )


def _check_there(path: Path, only: Collection[str], tables: Sequence[str]) -> None:
    there = {name.lower(): name for name in tables}
    for name in only:
        if name.lower() not in there:
            close = get_close_matches(name.lower(), there, 1)
            raise InvalidRequest(
                f"{path} has no table {name}; "
                + (
                    f"did you mean {there[close[0]]}?"
                    if close
                    else f"it has {', '.join(tables) or 'none'}"
                )
            )


def _with_directors(only: Collection[str], entries: Mapping[str, Entry]) -> set[str]:
    wanted = {name.lower() for name in only}
    said = [entries[name] for name in wanted & entries.keys()]
    directors = {director for e in said for director in (e.director, e.second_director)}
    return wanted | {name.lower() for name in directors if name}


def _check_shape(top: Place, content: Any) -> None:
    """Check what the library takes for granted, with words of our own."""
    if isinstance(content, dict) and isinstance(content.get("tables"), dict):
        raise top.at("tables").wrong(
            "is a mapping, as in a sidecar; Felis has a list of tables there"
        )
    for where, table in _items(top, content, "tables"):
        where.text(table, "name")
        if "columnRefs" in table and table.get("columns") is None:
            table["columns"] = []
        for inside, column in _items(where, table, "columns"):
            inside.text(column, "name")
            datatype = inside.text(column, "datatype")
            if datatype not in _ALL_TYPES:
                raise inside.at("datatype").wrong(
                    f"is {datatype}; Felis has {', '.join(_ALL_TYPES)}"
                )
    # A schema that is only read here needs no name of its own.
    content.setdefault("name", top.path.stem)


def _items(where: Place, item: Any, key: str) -> Iterator[tuple[Place, Any]]:
    for i, each in enumerate(where.sequence(item, key)):
        yield where.at(key, i), each


def _check_resources(top: Place, content: Any, above: tuple[Path, ...] = ()) -> None:
    """Refuse resources that would be downloaded, or that lead back to themselves."""
    if not isinstance(content, dict) or content.get("resources") is None:
        return
    for name, resource in top.mapping(content, "resources").items():
        where = top.at("resources", str(name))
        uri = where.text(resource, "uri")
        if uri.startswith("resource://"):
            continue
        if "://" in uri:
            raise where.at("uri").wrong(
                f"is {uri}; put the file beside this one and name it: qserv reads "
                "schemas from disk, never over the network"
            )
        path = (top.path.parent / uri).resolve()
        if path in (*above, top.path.resolve()):
            raise where.at("uri").wrong(f"leads back to {path}")
        _check_resources(Place(path), load(path), (*above, top.path.resolve()))


def _validated(top: Place, content: Any) -> "Schema[Any]":
    # The library costs seconds: only who reads Felis waits for it.
    from felis.datamodel import Schema
    from lsst.resources import ResourcePath
    from pydantic import ValidationError

    # It warns of what it deprecates; the file is its author's.
    logging.getLogger("felis").setLevel(logging.ERROR)
    here = ResourcePath(str(top.path.resolve()), forceDirectory=False)
    context = {"id_generation": True, "resource_path": here}
    try:
        return Schema.model_validate(content, context=context)
    except ValidationError as error:
        raise _explained(top, error) from error
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        # The library stumbles over values of a wrong kind, such as a list for a text.
        raise top.wrong(f"is not Felis: {type(error).__name__}: {error}") from error


def _explained(top: Place, error: "ValidationError") -> InvalidRequest:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    message = first["msg"].removeprefix("Value error, ").splitlines()[0]
    message = message.partition(".  If")[0]  # advice for programs
    more = f" ({len(found) - 1} more errors)" if len(found) > 1 else ""
    return top.at(*first["loc"]).wrong(f"is not Felis: {message}{more}")


def _table(where: Place, table: Any, entry: Entry) -> Table:
    kept = [
        column for column in table.columns if not entry.reading.ignores(column.name)
    ]
    names = renamed([column.name for column in kept], entry.reading.rename)
    columns = [
        replace(_column(where, table.name, column), name=name)
        for column, name in zip(kept, names, strict=True)
    ]
    try:
        return Table(
            name=table.name,
            columns=tuple(columns),
            description=table.description or "",
            **entry.spread,
        )
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{where.path}, line {where.line}: {error.text}"
        ) from error


def _column(where: Place, table: str, column: Any) -> Column:
    if column.datatype in _NOT_HELD:
        raise where.wrong(
            f"has column {column.name} of type {column.datatype}, which qserv cannot "
            f"hold; leave it out with `ignore: [{column.name}]` under {table} in the "
            "sidecar"
        )
    datatype = FELIS_TYPES[column.datatype]
    return Column(
        name=column.name,
        datatype=datatype,
        unit=column.ivoa_unit or column.fits_tunit or "",
        ucd=column.ivoa_ucd or "",
        description=column.description or "",
        nullable=column.nullable,
        length=column.length if datatype is DataType.VARCHAR else None,
    )
