"""Find the director keys that a SELECT asks for.

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
    conjuncts,
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


def sought(body: Select, snapshot: Snapshot) -> tuple[KeyedRestrictor, ...]:
    """Return what the terms of WHERE say of director keys.

    Parameters
    ----------
    body
        With its relations placed.
    snapshot
        Knows which directors have an index.
    """
    relations = {r.number: r for r in body.relations}
    terms = conjuncts(body.where)
    ranges: dict[ColumnRef, _Range] = {}
    found: list[KeyedRestrictor] = []
    for column, wanted in (w for t in terms for w in _wanted(t, relations)):
        for key, director in _keys(column, terms, relations, snapshot):
            match wanted:
                case _Range():
                    known = ranges.get(key, wanted)
                    ranges[key] = _both(known, wanted)
                case _:
                    found += _restrictor(director, key, wanted)
    for key, wanted in ranges.items():
        if wanted.high - wanted.low < MOST_KEYS:
            for _, director in _keys(key, (), relations, snapshot):
                name = director.release, director.table.name
                found.append(KeyRangeRestrictor(*name, wanted.low, wanted.high))
    return tuple(found)


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


def _keys(
    column: ColumnRef,
    terms: Sequence[Expression],
    relations: Mapping[int, Relation],
    snapshot: Snapshot,
) -> Iterator[tuple[ColumnRef, TableVersion]]:
    """Yield the keys of own rows that equal a column, with their director's index."""
    for ref in equal_to(column, terms):
        relation = relations.get(ref.relation)
        if relation is None or relation.extent is not Extent.OWN:
            continue
        stored = relation.stored
        if stored is None or relation.key != ref:
            continue
        name = stored.table.director or stored.table.name
        director = snapshot.table(stored.release, name)
        if director.index:
            yield ref, director


def _restrictor(
    director: TableVersion, key: ColumnRef, wanted: _Values | _Rows
) -> Iterator[KeyedRestrictor]:
    name = director.release, director.table.name
    if isinstance(wanted, _Rows):
        yield FoundRestrictor(*name, wanted.stage, wanted.column)
        return
    values = [i.value for i in wanted.items if isinstance(i, Literal)]
    kind = int if key.datatype.is_integer else str
    if len(values) == len(wanted.items) and all(type(v) is kind for v in values):
        keys = dict.fromkeys(v for v in values if isinstance(v, int | str))
        yield KeyRestrictor(*name, tuple(keys))
