"""What a table is: its kind, its columns with unit and meaning, its keys.

A *director* table has a position and an id of its own (Object). A *child* table's rows
live in the home chunk of their director key (Source, ForcedSource). A *ref-match*
table has pairs of director keys: a row lives in the home chunk of its first director
that is not NULL, and a copy lies beside the home chunk of its second. A *replicated*
table is small and has a copy on every worker (Filter, Visit).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from qserv.catalog import names
from qserv.errors import InvalidRequest, UnknownName

HEALPIX: Final = "_healpix_29"
"""The home of a row: its director's HEALPix NESTED pixel at order 29."""
CHUNK: Final = "_chunk"
"""The host of a row: the chunk beside which this copy is stored."""
SOURCE: Final = "_source"
"""The number of the input file that a row came from."""
UNIT_VECTOR: Final = ("_x", "_y", "_z")
"""The row's own position as a float64 unit vector (ICRS)."""
SYSTEM_COLUMNS: Final = (HEALPIX, CHUNK, SOURCE, *UNIT_VECTOR)
CELL: Final = "_cell_"
"""How the names of columns begin that only a plan has (`qserv.plan.neighbours`)."""


class DataType(StrEnum):
    """The types of columns and results, named as ADQL names them."""

    BOOLEAN = "BOOLEAN"
    SMALLINT = "SMALLINT"
    INTEGER = "INTEGER"
    BIGINT = "BIGINT"
    REAL = "REAL"
    DOUBLE = "DOUBLE"
    VARCHAR = "VARCHAR"
    TIMESTAMP = "TIMESTAMP"
    HUGEINT = "HUGEINT"
    """Only inside a plan: the partial sum of integers, before its overflow check."""

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers."""
        return self in _INTEGERS

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers."""
        return self in _INTEGERS or self in {DataType.REAL, DataType.DOUBLE}


_INTEGERS: Final = frozenset(
    {DataType.SMALLINT, DataType.INTEGER, DataType.BIGINT, DataType.HUGEINT}
)


class TableKind(StrEnum):
    """How a table's rows are spread over the workers."""

    DIRECTOR = "director"
    CHILD = "child"
    REF_MATCH = "ref-match"
    REPLICATED = "replicated"
    SYSTEM = "system"
    """Nowhere: the czar knows them. Only `qserv.catalog.system` has such tables."""


LOADABLE: Final = tuple(kind for kind in TableKind if kind is not TableKind.SYSTEM)
"""The kinds of tables that users load."""

_SPREAD: Final[Mapping[TableKind, tuple[str, str]]] = {
    TableKind.DIRECTOR: ("key position", ""),
    TableKind.CHILD: ("key director", "position id"),
    TableKind.REF_MATCH: ("key director second_key second_director", ""),
    TableKind.REPLICATED: ("", "position"),
    TableKind.SYSTEM: ("", ""),
}
"""What a table of each kind must say of itself, and what it may say besides."""
_SAID: Final = ("key", "director", "second_key", "second_director", "id", "position")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or of a result.

    Parameters
    ----------
    name
        The catalog's spelling; matched case-insensitively.
    datatype
        Its type.
    unit
        VOUnit string, such as ``"deg"``; empty when dimensionless or unknown.
    ucd
        IVOA UCD1+ string, such as ``"pos.eq.ra;meta.main"``.
    description
        One sentence for people.
    nullable
        Whether NULL may occur.
    length
        Characters that a VARCHAR has at most; None where nobody said.
    """

    name: str
    datatype: DataType
    unit: str = ""
    ucd: str = ""
    description: str = ""
    nullable: bool = True
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a release.

    Parameters
    ----------
    name
        The catalog's spelling; matched case-insensitively.
    kind
        How its rows are spread.
    columns
        Its columns, system columns excluded.
    key
        Director: its own id column. Child: the column that holds its director's id.
        Ref-match: the column with the first director's id. Replicated: None.
    director
        Child and ref-match: the name of the director table in the same release.
    position
        The two columns (longitude, latitude; degrees, ICRS) of the row's own position;
        None for a table without one, such as ForcedSource.
    description
        One sentence for people.
    second_key, second_director
        Ref-match: the column with the second director's id, and that table, which may
        be the first one again. A row may lack one of its two ids, never both.
    id
        Child: a column with an id of each row, never NULL and never twice, by which
        an index finds its home; None for a child without one.
    orphans
        Child with a position: whether a row whose director is NULL or missing is kept,
        and lives where its own position is; else it is refused.
    """

    name: str
    kind: TableKind
    columns: tuple[Column, ...]
    key: str | None = None
    director: str | None = None
    position: tuple[str, str] | None = None
    description: str = ""
    second_key: str | None = None
    second_director: str | None = None
    id: str | None = None
    orphans: bool = False
    _by_name: dict[str, Column] = field(
        init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        names.check_table(self.name, [column.name for column in self.columns])
        by_name = {column.name.lower(): column for column in self.columns}
        object.__setattr__(self, "_by_name", by_name)
        self._check_kind()

    def _check_kind(self) -> None:
        needed, may_be = (said.split() for said in _SPREAD[self.kind])
        for what in _SAID:
            said = getattr(self, what) is not None
            if (what not in needed + may_be) if said else (what in needed):
                raise InvalidRequest(
                    f"table {self.name}: a {self.kind} table "
                    f"{'has no' if said else 'must say its'} {what}"
                )
        for name in (self.key, self.second_key, self.id, *(self.position or ())):
            if name is not None and name.lower() not in self._by_name:
                raise InvalidRequest(
                    f"table {self.name}: there is no column {name}; "
                    f"its columns are {', '.join(c.name for c in self.columns)}"
                )
        if self.key and self.second_key and self.key.lower() == self.second_key.lower():
            raise InvalidRequest(
                f"table {self.name}: key and second_key are one column, {self.key}; "
                "a ref-match row pairs the ids of two columns"
            )
        if self.orphans and (self.kind is not TableKind.CHILD or not self.position):
            raise InvalidRequest(
                f"table {self.name}: orphans are kept by their own position, and only "
                "a child has them: declare its position, or refuse them"
            )

    @property
    def partitioned(self) -> bool:
        """Whether the rows lie in chunks."""
        return self.kind not in {TableKind.REPLICATED, TableKind.SYSTEM}

    @property
    def overlaps(self) -> bool:
        """Whether copies of its rows lie beside the chunks around."""
        return self.kind in {TableKind.DIRECTOR, TableKind.REF_MATCH}

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Columns with ids of directors, each with its director: first, then second."""
        pairs = (self.key, self.director), (self.second_key, self.second_director)
        return tuple((key, director) for key, director in pairs if key and director)

    @property
    def indexed(self) -> str | None:
        """The column whose values an index turns into homes: never NULL, never twice.

        A director's key, or a child's own id.
        """
        return self.key if self.kind is TableKind.DIRECTOR else self.id

    @property
    def system_columns(self) -> tuple[str, ...]:
        """Names of the system columns that the stored files carry."""
        if not self.partitioned:
            return (SOURCE,)
        return SYSTEM_COLUMNS if self.position else (HEALPIX, CHUNK, SOURCE)

    def find(self, name: str) -> Column | None:
        """Return the column of that name in any case, or None."""
        return self._by_name.get(name.lower())

    def column(self, name: str) -> Column:
        """Return the column of that name in any case.

        Raises
        ------
        UnknownName
            If there is none.
        """
        if (column := self.find(name)) is None:
            raise UnknownName(f"table {self.name} has no column {name}")
        return column
