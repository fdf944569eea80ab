"""Director keys: which columns hold them, and what is equal to what.

Rows that hold the same key of one director table have the same home, whatever tables
they are in: that is what makes most joins local.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qserv.catalog.tables import DataType
from qserv.plan.expressions import Call, ColumnRef, Expression
from qserv.plan.query import JoinKind, Relation


@dataclass(frozen=True, slots=True)
class Director:
    """A director table: release and name in lower case."""

    release: str
    table: str


@dataclass(frozen=True, slots=True)
class Held:
    """A column that holds director keys of own rows, and whether NULLs too."""

    director: Director
    nullable: bool


def director_of(relation: Relation) -> Director | None:
    """Return the director table by whose keys the rows of a stored relation lie."""
    stored = relation.stored
    if stored is None or relation.key is None:
        return None
    name = stored.table.director or stored.table.name
    return Director(stored.release.lower(), name.lower())


def second_director_of(relation: Relation) -> Director | None:
    """Return the director table whose keys a ref-match table holds second."""
    stored = relation.stored
    if stored is None or stored.table.second_director is None:
        return None
    return Director(stored.release.lower(), stored.table.second_director.lower())


def equalities(
    conditions: Iterable[Expression],
) -> Iterator[tuple[ColumnRef, ColumnRef]]:
    """Yield the pairs of columns that conditions equate, without any conversion."""
    for condition in conditions:
        match condition:
            case Call("=", (ColumnRef() as left, ColumnRef() as right)):
                if alike(left.datatype, right.datatype):
                    yield left, right
            case _:
                pass


def alike(left: DataType, right: DataType) -> bool:
    """Whether equality is exact: a DOUBLE equals several large integers."""
    if left.is_integer:
        return right.is_integer
    return left is right and not left.is_numeric


def equal_to(start: ColumnRef, conditions: Iterable[Expression]) -> set[ColumnRef]:
    """Return the columns that conditions make equal to one, itself included."""
    pairs = list(equalities(conditions))
    found, waiting = {start}, [start]
    while waiting:
        column = waiting.pop()
        for left, right in pairs:
            for ours, theirs in ((left, right), (right, left)):
                if ours == column and theirs not in found:
                    found.add(theirs)
                    waiting.append(theirs)
    return found


class Classes:
    """Which columns conditions equate, found once for all that ask.

    Parameters
    ----------
    conditions
        All of them hold.
    """

    def __init__(self, conditions: Iterable[Expression]) -> None:
        self._conditions = tuple(conditions)
        self._known: dict[ColumnRef, set[ColumnRef]] = {}

    def of(self, column: ColumnRef) -> set[ColumnRef]:
        """Return the columns that equal one, itself included."""
        if column not in self._known:
            found = equal_to(column, self._conditions)
            self._known.update(dict.fromkeys(found, found))
        return self._known[column]


def shares_key(
    left: Relation, right: Relation, conditions: Iterable[Expression]
) -> bool:
    """Whether two stored relations are joined by the key of one director."""
    director = director_of(left)
    if director is None or director != director_of(right):
        return False
    pairs = {frozenset(pair) for pair in equalities(conditions)}
    return frozenset((left.key, right.key)) in pairs and right.join is JoinKind.FULL
