r"""Reads the sidecar of a schema: how each table's rows are spread, and its files read.

::

    overlap: 60                  # arcsec, of new tables
    tables:
      Object:  {kind: director, key: objectId, position: [ra, dec]}
      Source:
        kind: child
        director: Object
        key: objectId
        position: [ra, dec]
        id: sourceId             # an id of its own, by which its rows are then found
        orphans: keep            # rows without director live where their position is
        rename: {"B-V": B_V}     # of the files: of the table
        ignore: [_healpix_29]    # columns of the files, or of Felis, that are left out
        read: {delimiter: "|", nulls: ["", "\\N", "-99"]}
      Filter:  {kind: replicated}
      RefObject:   {kind: director, key: refObjectId, position: [ra, dec]}
      RefObjMatch:
        kind: ref-match
        key: objectId
        director: Object
        second_key: refObjectId
        second_director: RefObject
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from qserv.catalog.tables import LOADABLE, TableKind
from qserv.catalog.yamlfile import Place, load, shown
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
    "orphans": "refuse or keep",
    "ignore": "a list of column names",
    "rename": "a mapping of the files' column names to the table's",
    "read": "a mapping that says how its files are read",
}
_TOP: Final = ("tables", "overlap")
_NAMES: Final = ("key", "director", "second_key", "second_director", "id")
_READ: Final[Mapping[str, tuple[type, ...]]] = {
    "format": (str,),
    "header": (bool,),
    "names": (list,),
    "delimiter": (str,),
    "quote": (str,),
    "escape": (str,),
    "nulls": (list,),
    "table": (str, int),
}
"""What `read` may say, as `qserv.ingest.inputs.ReadOptions` does."""
_KINDS_OF: Final = {str: "a text", bool: "true or false", list: "a list of texts"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of a table are read.

    Parameters
    ----------
    options
        What a file does not say about itself: the fields of
        `qserv.ingest.inputs.ReadOptions`.
    ignore
        Columns of the files that are left out, in any case.
    rename
        A column of the files -> what the table calls it.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)

    def ignores(self, column: str) -> bool:
        """Return whether a column of a file is left out."""
        return column.lower() in {each.lower() for each in self.ignore}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a sidecar says of one table: how its rows are spread, its files read.

    Parameters
    ----------
    kind, key, director, position, second_key, second_director, id, orphans
        As in `qserv.catalog.tables.Table`.
    reading
        How its files are read.
    """

    kind: TableKind
    key: str | None = None
    director: str | None = None
    position: tuple[str, str] | None = None
    second_key: str | None = None
    second_director: str | None = None
    id: str | None = None
    orphans: bool = False
    reading: Reading = field(default_factory=Reading)

    @property
    def spread(self) -> dict[str, Any]:
        """The arguments that a `qserv.catalog.tables.Table` has of it."""
        return {
            "kind": self.kind,
            "key": self.key,
            "director": self.director,
            "position": self.position,
            "second_key": self.second_key,
            "second_director": self.second_director,
            "id": self.id,
            "orphans": self.orphans,
        }


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says.

    Parameters
    ----------
    path
        Where it stands; None where there is none.
    entries
        Lower-case table name -> what it says of the table.
    overlap
        Overlap radius of new tables, degrees; None where it does not say.
    """

    path: Path | None = None
    entries: Mapping[str, Entry] = field(default_factory=dict)
    overlap: float | None = None

    def entry(self, table: str) -> Entry:
        """Return what it says of a table.

        Raises
        ------
        InvalidRequest
            If it does not mention it.
        """
        if (found := self.entries.get(table.lower())) is None:
            raise self._no_entry(table)
        return found

    def _no_entry(self, table: str) -> InvalidRequest:
        close = get_close_matches(table.lower(), self.entries, 1)
        hint = f"; did you mean {close[0]}, which it has?" if close else ""
        return InvalidRequest(_no_entry(table, self.path) + hint)


def read_sidecar(path: Path | str) -> Sidecar:
    """Read a sidecar.

    Raises
    ------
    InvalidRequest
        If it cannot be read or says something wrong, naming file, line and place.
    """
    path = Path(path)
    content, top = load(path), Place(path)
    tables = top.mapping(content, "tables")
    if unknown := [key for key in content if key not in _TOP]:
        raise top.at(str(unknown[0])).wrong(
            f"is unknown; a sidecar has {' and '.join(_TOP)}"
        )
    entries: dict[str, Entry] = {}
    for name, item in tables.items():
        where = top.at("tables", str(name))
        if str(name).lower() in entries:
            raise where.wrong("stands there twice: case does not count")
        entries[str(name).lower()] = _entry(where, item)
    return Sidecar(path, entries, _overlap(top, content))


def is_sidecar(path: Path | str) -> bool:
    """Tell whether a YAML file is a sidecar rather than Felis.

    Raises
    ------
    InvalidRequest
        If the file cannot be read.
    """
    content = load(Path(path))
    return isinstance(content, dict) and isinstance(content.get("tables"), dict)


def _no_entry(name: str, sidecar: Path | str | None) -> str:
    where = f"in {sidecar}" if sidecar else f"in a sidecar file (*{SIDECAR_SUFFIX})"
    return (
        f"nothing says how the rows of table {name} are spread; write one of these "
        f"under `tables:` {where}: "
        f"`{name}: {{kind: director, key: ID, position: [RA, DEC]}}`, "
        f"`{name}: {{kind: child, director: TABLE, key: ID, position: [RA, DEC]}}` "
        "(position may be left out), "
        f"`{name}: {{kind: ref-match, director: TABLE, key: ID, "
        "second_director: TABLE, second_key: ID}` "
        f"or `{name}: {{kind: replicated}}`; `qserv schema infer {name}=FILES` "
        "guesses it from the files"
    )


def _overlap(top: Place, content: Mapping[str, Any]) -> float | None:
    match content.get("overlap"):
        case None:
            return None
        case bool() as found:
            raise top.at("overlap").wrong(f"must be arcseconds, not {found!r}")
        case int() | float() as arcsec if 0 <= arcsec < 90 * 3600:
            return arcsec / 3600
        case found:
            raise top.at("overlap").wrong(
                f"must be 0 to 324,000 arcseconds (90 degrees), not {shown(found)}"
            )


def _entry(where: Place, item: Any) -> Entry:
    kind = where.text(item, "kind")
    if unknown := [key for key in item if key not in _KEYS]:
        raise where.at(str(unknown[0])).wrong(
            f"is unknown; an entry has {', '.join(_KEYS)}"
        )
    if kind not in LOADABLE:
        raise where.at("kind").wrong(f"is {kind!r}; write {_KEYS['kind']}")
    return Entry(
        kind=TableKind(kind),
        position=_position(where, item),
        orphans=_orphans(where, item),
        reading=_reading(where, item),
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
                f"must be {_KEYS['position']} (longitude, latitude), not {shown(found)}"
            )


def _orphans(where: Place, item: Any) -> bool:
    match where.text(item, "orphans", "refuse"):
        case "keep":
            return True
        case "refuse":
            return False
        case found:
            raise where.at("orphans").wrong(
                f"is {found!r}; write {_KEYS['orphans']} (rows whose director is NULL "
                "or missing)"
            )


def _reading(where: Place, item: Any) -> Reading:
    ignore = where.texts(item, "ignore") if item.get("ignore") is not None else ()
    rename = where.mapping(item, "rename") if item.get("rename") is not None else {}
    for old, new in rename.items():
        if not isinstance(old, str) or not isinstance(new, str):
            raise where.at("rename", str(old)).wrong(
                "must name columns, old and new; quote what YAML takes for no text"
            )
    taken = [new.lower() for new in rename.values()]
    if twice := [new for new in rename.values() if taken.count(new.lower()) > 1]:
        raise where.at("rename").wrong(f"makes two columns one, {twice[0]}")
    return Reading(_options(where, item), ignore, rename)


def _options(where: Place, item: Any) -> dict[str, Any]:
    if item.get("read") is None:
        return {}
    options, inside = where.mapping(item, "read"), where.at("read")
    for name, value in options.items():
        if name not in _READ:
            raise inside.at(str(name)).wrong(
                f"is unknown; there are {', '.join(_READ)}"
            )
        if type(value) not in _READ[name]:
            kinds = " or ".join(_KINDS_OF.get(t, "a number") for t in _READ[name])
            raise inside.at(name).wrong(f"must be {kinds}, not {shown(value)}")
        if isinstance(value, list):
            inside.texts(options, name)
    return dict(options)
