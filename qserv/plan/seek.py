"""Find the keys that a SELECT asks for: of directors, and of children's own rows.

A term of WHERE may give the key itself, or a column that is equal to it: a child's
foreign key, the column of an earlier stage's rows.
"""

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
from qserv.plan.query import JoinKind, Relation, Select, StageRows

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
    ranges: dict[ColumnRef, _Range] = {}
    found: list[KeyedRestrictor] = []
    for column, wanted in (w for t in terms for w in _wanted(t, relations)):
        for key, indexed in seeker.keys(column):
            match wanted:
                case _Range():
                    ranges[key] = _both(ranges.get(key, wanted), wanted)
                case _:
                    found += _restrictor(indexed, key, wanted)
    for key, wanted in ranges.items():
        if wanted.high - wanted.low < MOST_KEYS:
            for indexed in seeker.indexes(key):
                name = indexed.release, indexed.table.name
                found.append(KeyRangeRestrictor(*name, wanted.low, wanted.high))
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
    if relation is None or relation.join not in {JoinKind.FIRST, JoinKind.INNER}:
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
class _Seeker:
    """Finds the keys of own rows that terms equate a column with."""

    terms: tuple[Expression, ...]
    relations: Mapping[int, Relation]
    snapshot: Snapshot

    def keys(self, column: ColumnRef) -> Iterator[tuple[ColumnRef, TableVersion]]:
        """Yield the keys, each with a table whose index tells where they are."""
        for ref in equal_to(column, self.terms):
            for indexed in self.indexes(ref):
                yield ref, indexed

    def indexes(self, ref: ColumnRef) -> Iterator[TableVersion]:
        """Yield the tables whose index tells where own rows with such a value are."""
        relation = self.relations.get(ref.relation)
        if relation is None or relation.extent is not Extent.OWN:
            return
        if (stored := relation.stored) is None:
            return
        if relation.key == ref:
            name = stored.table.director or stored.table.name
            director = self.snapshot.table(stored.release, name)
            if director.index:
                yield director
        if _is_id(stored, ref) and stored.index:
            yield stored


def _is_id(stored: TableVersion, ref: ColumnRef) -> bool:
    """Whether a column is the id of a child's rows, which has an index of its own."""
    name = stored.table.id
    return name is not None and name.lower() == ref.column.name.lower()


def _restrictor(
    indexed: TableVersion, key: ColumnRef, wanted: _Values | _Rows
) -> Iterator[KeyedRestrictor]:
    name = indexed.release, indexed.table.name
    if isinstance(wanted, _Rows):
        yield FoundRestrictor(*name, wanted.stage, wanted.column)
        return
    values = [i.value for i in wanted.items if isinstance(i, Literal)]
    kind = int if key.datatype.is_integer else str
    if len(values) == len(wanted.items) and all(type(v) is kind for v in values):
        keys = dict.fromkeys(v for v in values if isinstance(v, int | str))
        yield KeyRestrictor(*name, tuple(keys))
