"""What a table is: its kind, its columns with unit and meaning, its keys.

A *director* table has a position and an id of its own (Object). A *child* table's rows
live in the home chunk of their director key (Source, ForcedSource). A *replicated*
table is small and has a copy on every worker (Filter, Visit).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from qserv.errors import InvalidRequest, UnknownName

HEALPIX: Final = "_healpix_29"
"""The home of a row: its director's HEALPix NESTED pixel at order 29."""
CHUNK: Final = "_chunk"
"""The host of a row: the chunk beside which this copy is stored."""
UNIT_VECTOR: Final = ("_x", "_y", "_z")
"""The row's own position as a float64 unit vector (ICRS)."""
SYSTEM_COLUMNS: Final = (HEALPIX, CHUNK, *UNIT_VECTOR)
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
    """

    name: str
    datatype: DataType
    unit: str = ""
    ucd: str = ""
    description: str = ""
    nullable: bool = True


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
        Replicated: None.
    director
        Child: the name of its director table in the same release.
    position
        The two columns (longitude, latitude; degrees, ICRS) of the row's own position;
        None for a table without one, such as ForcedSource.
    description
        One sentence for people.
    """

    name: str
    kind: TableKind
    columns: tuple[Column, ...]
    key: str | None = None
    director: str | None = None
    position: tuple[str, str] | None = None
    description: str = ""
    _by_name: dict[str, Column] = field(
        init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        by_name = {column.name.lower(): column for column in self.columns}
        if len(by_name) < len(self.columns):
            raise InvalidRequest(
                f"table {self.name}: two columns differ only in case; rename one"
            )
        if unreadable := [name for name in by_name if not name.isprintable()]:
            raise InvalidRequest(
                f"table {self.name}: column {unreadable[0]!r} has a character that "
                "cannot be printed; rename it"
            )
        if reserved := {
            n for n in by_name if n in SYSTEM_COLUMNS or n.startswith(CELL)
        }:
            raise InvalidRequest(
                f"table {self.name}: column {min(reserved)} is a system column "
                "of qserv; rename it"
            )
        object.__setattr__(self, "_by_name", by_name)
        self._check_kind()

    def _check_kind(self) -> None:
        wants_key = self.kind in {TableKind.DIRECTOR, TableKind.CHILD}
        if wants_key != (self.key is not None):
            raise InvalidRequest(
                f"table {self.name}: a {self.kind} table "
                f"{'needs' if wants_key else 'has no'} key column"
            )
        if self.kind is TableKind.DIRECTOR and self.position is None:
            raise InvalidRequest(
                f"table {self.name}: a director table needs two position columns"
            )
        if (self.kind is TableKind.CHILD) != (self.director is not None):
            raise InvalidRequest(
                f"table {self.name}: a child table, and only that, names its director"
            )
        for name in (self.key, *(self.position or ())):
            if name is not None and name.lower() not in self._by_name:
                raise InvalidRequest(
                    f"table {self.name}: there is no column {name}; "
                    f"its columns are {', '.join(c.name for c in self.columns)}"
                )

    @property
    def partitioned(self) -> bool:
        """Whether the rows lie in chunks (all kinds but replicated)."""
        return self.kind is not TableKind.REPLICATED

    @property
    def system_columns(self) -> tuple[str, ...]:
        """Names of the system columns that the stored files carry."""
        if not self.partitioned:
            return ()
        return SYSTEM_COLUMNS if self.position else (HEALPIX, CHUNK)

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
