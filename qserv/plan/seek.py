"""Find the keys that a SELECT asks for: of directors, and of children's own rows.

A term of WHERE may give the key itself, or a column that is equal to it: a child's
foreign key, the column of an earlier stage's rows.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qserv.catalog.snapshot import Snapshot, TableVersion
from qserv.plan.expressions import (
    Call,
    ColumnRef,
    Expression,
    InList,
    InQuery,
    Literal,
)
from qserv.plan.keys import alike, equal_to
from qserv.plan.plan import (
    Extent,
    FoundRestrictor,
    KeyedRestrictor,
    KeyRangeRestrictor,
    KeyRestrictor,
)
from qserv.plan.query import Relation, Select, StageRows

MOST_KEYS: Final = 1_000_000
"""Keys that a range may name; a wider one is not looked up, and limits nothing."""
_LEAST, _GREATEST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Values:
    """Constants, one of which a column equals."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    """Whole numbers from which and up to which a column is, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """The column of an earlier stage whose values a column equals."""

    stage: int
    column: str


_Wanted = _Values | _Range | _Rows


def sought(
    terms: Sequence[Expression],
    context: Sequence[Expression],
    relations: Mapping[int, Relation],
    snapshot: Snapshot,
) -> tuple[KeyedRestrictor, ...]:
    """Return what terms say of director keys, and of children's own.

    Parameters
    ----------
    terms
        What must hold.
    context
        What must hold besides: it may make columns equal to keys.
    relations
        The placed relations of the SELECT, by number.
    snapshot
        Knows which tables have an index.
    """
    seeker = _Seeker((*context, *terms), relations, snapshot)
    ranges: dict[_Key, _Range] = {}
    found: list[KeyedRestrictor] = []
    for column, wanted in (w for t in terms for w in _wanted(t, relations)):
        for key in seeker.keys(column):
            match wanted:
                case _Range():
                    ranges[key] = _both(ranges.get(key, wanted), wanted)
                case _:
                    found += _restrictor(key, wanted)
    for key, span in ranges.items():
        if span.high - span.low < MOST_KEYS:
            found.append(KeyRangeRestrictor(*key.index, span.low, span.high, key.reach))
    return tuple(dict.fromkeys(found))


def _both(one: _Range, other: _Range) -> _Range:
    return _Range(max(one.low, other.low), min(one.high, other.high))


def _wanted(
    term: Expression, relations: Mapping[int, Relation]
) -> Iterator[tuple[ColumnRef, _Wanted]]:
    """Yield the columns that a term limits, and what to."""
    match term:
        case Call("=", (ColumnRef() as column, Literal() as value)):
            yield column, _Values((value,))
        case Call("=", (Literal() as value, ColumnRef() as column)):
            yield column, _Values((value,))
        case Call("=", (ColumnRef() as left, ColumnRef() as right)):
            for column, other in ((left, right), (right, left)):
                stage = _stage(relations.get(other.relation))
                if stage is not None and alike(left.datatype, right.datatype):
                    yield column, _Rows(stage, other.column.name)
        case InList(ColumnRef() as column, items):
            yield column, _Values(items)
        case InQuery(ColumnRef() as column, Select() as inner):
            found = _all_rows(inner)
            kind = inner.columns[0].datatype
            if found is not None and alike(column.datatype, kind):
                yield column, found
        case _:
            yield from _compared(term)


def _stage(relation: Relation | None) -> int | None:
    if relation is None or not relation.join.is_inner:
        return None
    source = relation.source
    return source.stage if isinstance(source, StageRows) else None


def _all_rows(inner: Select) -> _Rows | None:
    """Return the stage whose only column a subquery gives, row by row."""
    (output,) = inner.outputs
    source = inner.relations[0].source
    if inner.where is not None or len(inner.relations) > 1:
        return None
    if not (isinstance(source, StageRows) and isinstance(output.expression, ColumnRef)):
        return None
    return _Rows(source.stage, output.expression.column.name)


def _compared(term: Expression) -> Iterator[tuple[ColumnRef, _Range]]:
    match term:
        case Call("BETWEEN", (ColumnRef() as column, Literal(low), Literal(high))):
            if type(low) is int and type(high) is int:
                yield column, _Range(low, high)
        case Call(sign, (ColumnRef() as column, Literal(value))) if type(value) is int:
            yield from ((column, r) for r in _end(sign, value))
        case Call(sign, (Literal(value), ColumnRef() as column)) if type(value) is int:
            yield from ((column, r) for r in _end(_MIRROR.get(sign, ""), value))


_MIRROR: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _end(sign: str, value: int) -> Iterator[_Range]:
    match sign:
        case "<":
            yield _Range(_LEAST, value - 1)
        case "<=":
            yield _Range(_LEAST, value)
        case ">":
            yield _Range(value + 1, _GREATEST)
        case ">=":
            yield _Range(value, _GREATEST)
        case _:
            return


@dataclass(frozen=True, slots=True)
class _Key:
    """A column whose values an index knows the homes of.

    Parameters
    ----------
    column
        The column.
    index
        Release and name of the table that has the index.
    reach
        How far these homes may lie outside the chunk, in degrees.
    """

    column: ColumnRef
    index: tuple[str, str]
    reach: float


@dataclass(frozen=True, slots=True)
class _Seeker:
    """Finds the keys that terms equate a column with."""

    terms: tuple[Expression, ...]
    relations: Mapping[int, Relation]
    snapshot: Snapshot

    def keys(self, column: ColumnRef) -> Iterator[_Key]:
        """Yield the keys whose homes are known, of those in one index the nearest."""
        nearest: dict[tuple[str, str], _Key] = {}
        for ref in equal_to(column, self.terms):
            for key in self._indexed(ref):
                known = nearest.setdefault(key.index, key)
                if key.reach < known.reach:
                    nearest[key.index] = key
        yield from nearest.values()

    def _indexed(self, ref: ColumnRef) -> Iterator[_Key]:
        """Yield a column for each index that tells where rows with such a value are."""
        relation = self.relations.get(ref.relation)
        stored = None if relation is None else relation.stored
        if relation is None or stored is None or relation.extent is Extent.COPY:
            return
        for name, reach in _known(relation, stored, ref):
            indexed = self.snapshot.table(stored.release, name)
            if indexed.index and math.isfinite(reach):
                yield _Key(ref, (indexed.release, indexed.table.name), reach)


def _known(
    relation: Relation, stored: TableVersion, ref: ColumnRef
) -> Iterator[tuple[str, float]]:
    """Yield the tables whose keys a column holds, and how far away their homes are."""
    table = stored.table
    if ref == relation.key:
        yield table.director or table.name, relation.home_reach
    if ref == relation.second_key and table.second_director is not None:
        yield table.second_director, relation.second_reach
    if _is_id(stored, ref):
        yield table.name, relation.home_reach


def _is_id(stored: TableVersion, ref: ColumnRef) -> bool:
    """Whether a column is the id of a child's rows, which has an index of its own."""
    name = stored.table.id
    return name is not None and name.lower() == ref.column.name.lower()


def _restrictor(key: _Key, wanted: _Values | _Rows) -> Iterator[KeyedRestrictor]:
    if isinstance(wanted, _Rows):
        yield FoundRestrictor(*key.index, wanted.stage, wanted.column, key.reach)
        return
    values = [i.value for i in wanted.items if isinstance(i, Literal)]
    kind = int if key.column.datatype.is_integer else str
    if len(values) == len(wanted.items) and all(type(v) is kind for v in values):
        keys = dict.fromkeys(v for v in values if isinstance(v, int | str))
        yield KeyRestrictor(*key.index, tuple(keys), key.reach)
