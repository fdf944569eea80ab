"""Reads the sidecar of a schema, which says how each table's rows are spread.

::

    tables:
      Object:  {kind: director, key: objectId, position: [ra, dec]}
      Source:  {kind: child, director: Object, key: objectId, position: [ra, dec]}
      Filter:  {kind: replicated}
      RefObject:   {kind: director, key: refObjectId, position: [ra, dec]}
      RefObjMatch:
        kind: ref-match
        key: objectId
        director: Object
        second_key: refObjectId
        second_director: RefObject

A child may also declare a column with an id of its own, ``id: sourceId``, by which its
rows are then found as a director's are by its key.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qserv.catalog.tables import TableKind
from qserv.catalog.yamlfile import Place, load
from qserv.errors import InvalidRequest

SIDECAR_SUFFIX: Final = ".sidecar.yaml"
"""A sidecar of ``dr1.yaml`` is looked for in ``dr1.sidecar.yaml``."""

_KEYS: Final = {
    "kind": "director, child, ref-match or replicated",
    "key": "a column name",
    "director": "a table name",
    "second_key": "a column name",
    "second_director": "a table name",
    "id": "a column name",
    "position": "two column names",
}
_NAMES: Final = ("key", "director", "second_key", "second_director", "id")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a sidecar says of one table: how its rows are spread.

    Parameters
    ----------
    kind, key, director, position, second_key, second_director, id
        As in `qserv.catalog.tables.Table`.
    """

    kind: TableKind
    key: str | None = None
    director: str | None = None
    position: tuple[str, str] | None = None
    second_key: str | None = None
    second_director: str | None = None
    id: str | None = None


def read_sidecar(path: Path | str) -> dict[str, Entry]:
    """Read a sidecar.

    Returns
    -------
    dict
        Lower-case table name -> its entry.

    Raises
    ------
    InvalidRequest
        If it cannot be read or says something wrong, naming file and place inside.
    """
    path = Path(path)
    top = Place(path, "")
    tables = top.mapping(load(path), "tables")
    return {
        str(name).lower(): _entry(Place(path, f"tables.{name}"), item)
        for name, item in tables.items()
    }


def is_sidecar(path: Path | str) -> bool:
    """Tell whether a YAML file is a sidecar rather than Felis.

    Raises
    ------
    InvalidRequest
        If the file cannot be read.
    """
    content = load(Path(path))
    return isinstance(content, dict) and isinstance(content.get("tables"), dict)


def no_entry(name: str, sidecar: Path | str | None) -> InvalidRequest:
    """Return the error for a table that the sidecar does not mention."""
    where = f"in {sidecar}" if sidecar else f"in a sidecar file (*{SIDECAR_SUFFIX})"
    return InvalidRequest(
        f"nothing says how the rows of table {name} are spread; write one of these "
        f"under `tables:` {where}: "
        f"`{name}: {{kind: director, key: ID, position: [RA, DEC]}}`, "
        f"`{name}: {{kind: child, director: TABLE, key: ID, position: [RA, DEC]}}` "
        "(position may be left out), "
        f"`{name}: {{kind: ref-match, director: TABLE, key: ID, "
        "second_director: TABLE, second_key: ID}` "
        f"or `{name}: {{kind: replicated}}`"
    )


def _entry(where: Place, item: Any) -> Entry:
    kind = where.text(item, "kind")
    if unknown := set(item) - set(_KEYS):
        raise where.at(min(unknown)).wrong(
            f"is unknown; an entry has {', '.join(_KEYS)}"
        )
    if kind not in set(TableKind):
        raise where.at("kind").wrong(f"is {kind!r}; write {_KEYS['kind']}")
    return Entry(
        kind=TableKind(kind),
        position=_position(where, item),
        **{name: where.text(item, name, "") or None for name in _NAMES},
    )


def _position(where: Place, item: Any) -> tuple[str, str] | None:
    if item.get("position") is None:
        return None
    match where.sequence(item, "position"):
        case [str(lon), str(lat)]:
            return (lon, lat)
        case found:
            raise where.at("position").wrong(
                f"must be {_KEYS['position']} (longitude, latitude), not {found}"
            )
