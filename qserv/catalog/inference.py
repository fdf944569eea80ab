"""Makes tables out of the columns that files have: types, kinds, keys, positions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from qserv.catalog.sidecar import Entry
from qserv.catalog.tables import Column, DataType, Table, TableKind
from qserv.errors import InvalidRequest

_LADDER: Final = (
    DataType.SMALLINT,
    DataType.INTEGER,
    DataType.BIGINT,
    DataType.REAL,
    DataType.DOUBLE,
)
"""Each holds, about, what those before it hold; `wider` knows where it does not."""

_POSITIONS: Final = tuple(
    pair.split()
    for pair in """
    ra dec|ra_icrs de_icrs|raj2000 dej2000|ra_j2000 dec_j2000|coord_ra coord_dec
    s_ra s_dec|radeg dedeg|radeg decdeg|ra_deg dec_deg|ramean decmean|mean_ra mean_dec
    ra2000 dec2000|raj2000deg decj2000deg|alpha_j2000 delta_j2000
    alphawin_j2000 deltawin_j2000|alphapeak_j2000 deltapeak_j2000
    right_ascension declination|alpha delta|ra de
    """.replace("\n", "|").split("|")
    if pair.strip()
)
"""What people call right ascension and declination, in lower case."""
_WHOLE_DIGITS: Final = 18
"""Digits that a BIGINT holds in any case."""
_DIGITS: Final = 15
"""Digits that a DOUBLE holds in any case."""
_DEGREES: Final = frozenset({"", "deg", "degree", "degrees", "Angle[deg]"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a table's files.

    Parameters
    ----------
    table
        Its name.
    columns
        What the files have, in types that hold all that was seen.
    unique
        The columns that had a value, never twice the same, in each row of the sample.
    rows
        Rows of the sample.
    strays
        Columns of texts most of which are numbers, but not all.
    """

    table: str
    columns: tuple[Column, ...]
    unique: frozenset[str]
    rows: int = 0
    strays: frozenset[str] = frozenset()

    def find(self, name: str) -> Column | None:
        """Return the column of that name in any case, or None."""
        folded = name.lower()
        return next((c for c in self.columns if c.name.lower() == folded), None)

    def may_be_number(self, column: Column) -> bool:
        """Return whether its values are numbers, but for a few."""
        return column.datatype.is_numeric or column.name in self.strays


@dataclass(frozen=True, slots=True)
class Guess:
    """How the rows of a table may be spread, and why.

    Parameters
    ----------
    entry
        What a sidecar would say.
    why
        Sentences for people: what was guessed, and what to check.
    """

    entry: Entry
    why: tuple[str, ...]


def infer(sight: Sight, entry: Entry) -> Table:
    """Make a table from the columns that its files have.

    Parameters
    ----------
    sight
        The table.
    entry
        How the rows are spread. What it names a position is DOUBLE, even if a few of
        its values are no numbers: their rows are bad ones. What it names an id is
        BIGINT, if it is a whole number: the next files may have larger ones.

    Raises
    ------
    InvalidRequest
        If a name breaks the rule, or the entry names a column that is not there.
    """
    positions = {each.lower() for each in entry.position or ()}
    ids = {each.lower() for each in (entry.key, entry.second_key, entry.id) if each}
    return Table(
        name=sight.table,
        columns=tuple(
            _as(column, DataType.DOUBLE)
            if column.name.lower() in positions and sight.may_be_number(column)
            else _as(column, DataType.BIGINT)
            if column.name.lower() in ids and column.datatype.is_integer
            else column
            for column in sight.columns
        ),
        **entry.spread,
    )


def columns_of(where: str, schema: pa.Schema) -> tuple[Column, ...]:
    """Return the columns of a file's Arrow schema; `where` is table and file.

    Metadata ``unit``, ``ucd``, ``description`` of a field is taken over; a column of
    NULLs alone is a VARCHAR.

    Raises
    ------
    InvalidRequest
        If a column has a type that no column of ours holds.
    """
    return tuple(_column(where, field) for field in schema)


def datatype_of(arrow: pa.DataType) -> DataType | None:
    """Return the narrowest type of ours that holds all values of an Arrow type.

    Returns
    -------
    DataType or None
        None where there is none (lists, structs, binary …). ``uint64`` gives BIGINT,
        whose range is checked row by row.
    """
    if pa.types.is_dictionary(arrow):
        return datatype_of(arrow.value_type)
    for holds, datatype in _ARROW_TYPES:
        if holds(arrow):
            return datatype
    return None


def wider(one: DataType, other: DataType) -> DataType | None:
    """Return the type that holds the values of both; None where there is none."""
    if one is other:
        return one
    if not (one.is_numeric and other.is_numeric):
        return None
    low, high = sorted((one, other), key=_LADDER.index)
    # A REAL has 24 bits: whole numbers of 32 do not fit.
    exact = high is not DataType.REAL or low is DataType.SMALLINT
    return high if exact else DataType.DOUBLE


def guess(sight: Sight, others: Iterable[Sight] = ()) -> Guess:
    """Guess how the rows of a table are spread.

    Parameters
    ----------
    sight
        The table.
    others
        The other tables of the release, of which one may be its director.
    """
    position, about_position = _position(sight)
    key = _key(sight)
    directors = {
        other.table: found
        for other in others
        if _position(other)[0]
        and (found := _key(other))
        and (found != key or position is None)
    }
    links = {
        director: column.name
        for director, found in directors.items()
        if (column := sight.find(found)) is not None
    }
    if len(links) > 1 and position is None:
        return _pairs(links)
    if links:
        return _child(sight, links, key, position)
    if position and key:
        return _director(sight, key, position)
    return _replicated(sight, position, about_position)


def _as(column: Column, datatype: DataType) -> Column:
    return replace(column, datatype=datatype)


def _pairs(links: Mapping[str, str]) -> Guess:
    (first, key), (second, second_key) = list(links.items())[:2]
    entry = Entry(
        TableKind.REF_MATCH,
        key=key,
        director=first,
        second_key=second_key,
        second_director=second,
    )
    why = (
        f"ref-match, because it has the keys of {first} and {second} and no position.",
    )
    return Guess(entry, why)


def _child(
    sight: Sight,
    links: Mapping[str, str],
    key: str | None,
    position: tuple[str, str] | None,
) -> Guess:
    director, link = next(iter(links.items()))
    own = key if key and key.lower() != link.lower() else None
    entry = Entry(
        TableKind.CHILD, key=link, director=director, position=position, id=own
    )
    why = [f"child, because it has the key of {director}, {link}."]
    if own:
        why.append(
            f"id: {own} was unique in {sight.rows:,} rows; drop it if it is not."
        )
    if len(links) > 1:
        why.append(f"It has the keys of {', '.join(links)}: one can be its director.")
    return Guess(entry, tuple(why))


def _director(sight: Sight, key: str, position: tuple[str, str]) -> Guess:
    entry = Entry(TableKind.DIRECTOR, key=key, position=position)
    lon, lat = position
    why = (
        f"director: {key} was unique in {sight.rows:,} rows.",
        f"{lon}, {lat} look like its position.",
        "Check that the position is right ascension and declination in degrees, ICRS.",
    )
    return Guess(entry, why)


def _replicated(
    sight: Sight, position: tuple[str, str] | None, about_position: str
) -> Guess:
    why = ["replicated: every worker gets a whole copy, so it has to be small."]
    if position:
        entry = Entry(TableKind.REPLICATED, position=position)
        why.append(
            f"If it is large, make it a director: it has a position, but none of its "
            f"ids was unique in {sight.rows:,} rows."
        )
    else:
        entry = Entry(TableKind.REPLICATED)
        why.append(about_position or "No columns look like a position.")
    return Guess(entry, tuple(why))


def _position(sight: Sight) -> tuple[tuple[str, str] | None, str]:
    """Return the columns of a position; if there are none, maybe why."""
    pairs = [*_by_ucd(sight), *(tuple(map(sight.find, pair)) for pair in _POSITIONS)]
    for lon, lat in pairs:
        if lon is None or lat is None:
            continue
        if not (sight.may_be_number(lon) and sight.may_be_number(lat)):
            return None, (
                f"{lon.name}, {lat.name} are no numbers; a position is in degrees."
            )
        if not {lon.unit, lat.unit} <= _DEGREES:
            return None, (
                f"{lon.name}, {lat.name} are in {lon.unit or lat.unit}; a position is "
                "in degrees."
            )
        return (lon.name, lat.name), ""
    return None, ""


def _by_ucd(sight: Sight) -> list[tuple[Column | None, Column | None]]:
    found = [
        [c for c in sight.columns if c.ucd.lower() == f"pos.eq.{axis};meta.main"]
        for axis in ("ra", "dec")
    ]
    return [(found[0][0], found[1][0])] if all(len(each) == 1 for each in found) else []


def _key(sight: Sight) -> str | None:
    """Return the column that looks most like the id of the rows."""
    table = sight.table.lower()
    ranks = [
        lambda c: c.ucd.lower() == "meta.id;meta.main",
        lambda c: c.name.lower() in {f"{table}id", f"{table}_id"},
        lambda c: c.name.lower() in {"id", "objectid", "source_id", "sourceid"},
        lambda c: c.name.endswith(("Id", "ID")) or c.name.lower().endswith("_id"),
        lambda c: c.name.lower() in {"designation", "name", "recno"},
    ]
    may_be = [
        c
        for c in sight.columns
        if c.name in sight.unique
        and (c.datatype.is_integer or c.datatype is DataType.VARCHAR)
    ]
    for rank in ranks:
        for column in filter(rank, may_be):
            return column.name
    return None


def _small(arrow: pa.DataType) -> bool:
    return bool(arrow in {pa.int8(), pa.uint8(), pa.int16()})


def _whole(arrow: pa.DataType) -> bool:
    decimal = pa.types.is_decimal(arrow)
    return bool(decimal and arrow.scale == 0 and arrow.precision <= _WHOLE_DIGITS)


def _fraction(arrow: pa.DataType) -> bool:
    decimal = pa.types.is_decimal(arrow)
    return bool(decimal and arrow.scale >= 0 and arrow.precision <= _DIGITS)


def _text(arrow: pa.DataType) -> bool:
    return bool(arrow in {pa.string(), pa.large_string(), pa.string_view()})


_ARROW_TYPES: Final = (
    (pa.types.is_boolean, DataType.BOOLEAN),
    (_small, DataType.SMALLINT),
    (lambda arrow: arrow in {pa.uint16(), pa.int32()}, DataType.INTEGER),
    (pa.types.is_integer, DataType.BIGINT),
    (lambda arrow: arrow in {pa.float16(), pa.float32()}, DataType.REAL),
    (pa.types.is_float64, DataType.DOUBLE),
    (_whole, DataType.BIGINT),
    (_fraction, DataType.DOUBLE),
    (_text, DataType.VARCHAR),
    (pa.types.is_timestamp, DataType.TIMESTAMP),
    (pa.types.is_date, DataType.TIMESTAMP),
    (pa.types.is_null, DataType.VARCHAR),
)


def _column(where: str, field: pa.Field) -> Column:
    if (datatype := datatype_of(field.type)) is None:
        raise InvalidRequest(
            f"table {where}: column {field.name} has type {field.type}, which no "
            f"column can hold; leave it out with `ignore: [{field.name}]` in the "
            "sidecar, or convert it"
        )
    said = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    return Column(
        name=field.name,
        datatype=datatype,
        unit=said.get("unit", ""),
        ucd=said.get("ucd", ""),
        description=said.get("description", ""),
    )
