"""What is left of a SELECT after its joins: what a chunk may finish, what it may not.

Grouped, distinct or windowed by the director key is finished inside the chunk only if
the key is NOT NULL there, comes from a relation's own rows, and from no null-extended
or neighbour side: then all rows of a key are in one chunk, and a chunk has all of them.

``SELECT objectId, COUNT(*) FROM Source GROUP BY objectId``
    Finished: 10^13 rows never gather groups at the czar.
``SELECT s.objectId … FROM Object o LEFT JOIN Source s … GROUP BY s.objectId``
    Not: the group of NULL has rows in many chunks. By o.objectId it is finished.
``SELECT b.objectId, COUNT(*) FROM Object a JOIN Object b ON near GROUP BY b.objectId``
    Not: b is a neighbour of rows in several chunks.

ORDER BY with TOP n keeps n rows a batch, and always has a final merge.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qserv.catalog.tables import Column
from qserv.plan.depth import rebuild, refs_of
from qserv.plan.expressions import (
    ColumnRef,
    Expression,
    Window,
    conjunction,
    conjuncts,
    walk,
)
from qserv.plan.keys import Held, equalities
from qserv.plan.plan import Extent
from qserv.plan.query import JoinKind, Output, Relation, Select, StageRows, clauses


def held(body: Select, keys: Mapping[ColumnRef, Held]) -> dict[ColumnRef, Held]:
    """Return the columns of a placed SELECT that hold director keys of own rows.

    Parameters
    ----------
    body
        With its relations placed.
    keys
        Columns of its relations that hold director keys.
    """
    if any(r.join is JoinKind.FULL for r in body.relations):
        return {}
    own = {
        r.number for r in body.relations if r.extent is Extent.OWN and r.join.is_inner
    }
    equated = {ref for pair in equalities(conjuncts(body.where)) for ref in pair}
    return {
        ref: replace(found, nullable=found.nullable and ref not in equated)
        for ref, found in keys.items()
        if ref.relation in own
    }


Whole = Callable[[Sequence[Expression]], bool]
"""Whether rows that agree in these values are all in one place: a chunk, a bucket."""


def in_chunks(keys: Mapping[ColumnRef, Held]) -> Whole:
    """Return the test for chunks: one value is a director key of own rows."""

    def whole(values: Sequence[Expression]) -> bool:
        refs = (v for v in values if isinstance(v, ColumnRef) and v in keys)
        return any(not keys[ref].nullable for ref in refs)

    return whole


def in_buckets(body: Select, hashed: Mapping[int, tuple[ColumnRef, ...]]) -> Whole:
    """Return the test for buckets: all that was hashed of one relation is there."""
    kept = {r.number for r in body.relations if r.join.is_inner}
    known = [keys for number, keys in hashed.items() if keys and number in kept]

    def whole(values: Sequence[Expression]) -> bool:
        return any(set(keys) <= set(values) for keys in known)

    return whole


def hashed_outputs(
    body: Select, hashed: Mapping[int, tuple[ColumnRef, ...]]
) -> tuple[str, ...]:
    """Return the outputs that are all that was hashed of one relation."""
    kept = {r.number for r in body.relations if r.join.is_inner}
    names = {o.expression: o.column.name for o in body.outputs}
    for number, keys in hashed.items():
        if number in kept and keys and all(key in names for key in keys):
            return tuple(names[key] for key in keys)
    return ()


def windows(body: Select) -> list[Window]:
    """Return the window functions of a SELECT."""
    values = [*(o.expression for o in body.outputs)]
    values += [o.expression for o in body.orderings]
    return [n for value in values for n in walk(value) if isinstance(n, Window)]


def grouped_in_place(body: Select, whole: Whole) -> bool:
    """Whether each group has all its rows in one place, or nothing is grouped."""
    return not body.grouped or whole(body.groups)


def windowed_in_place(body: Select, whole: Whole) -> bool:
    """Whether each partition of the windows has all its rows in one place."""
    return all(whole(w.partition) for w in windows(body))


def distinct_in_place(body: Select, whole: Whole) -> bool:
    """Whether equal rows of the result are all in one place."""
    return not body.distinct or whole([o.expression for o in body.outputs])


def all_in_place(body: Select, whole: Whole) -> bool:
    """Whether all that is grouped, numbered or told apart is finished in its place."""
    checks = (grouped_in_place, windowed_in_place, distinct_in_place)
    return all(check(body, whole) for check in checks)


def gathered(
    body: Select, rows: Relation, later: Expression | None = None
) -> tuple[Select, Select]:
    """Take the joins from all that follows: the columns, and the rest over them.

    Parameters
    ----------
    body
        The SELECT.
    rows
        A relation for the rows of the joins; its columns are found here.
    later
        A term of WHERE that is left to the rest.

    Returns
    -------
    joins
        FROM and WHERE, with the columns that the rest needs.
    rest
        The other clauses, over `rows`.
    """
    after = replace(body, relations=(), where=later)
    now = tuple(term for term in conjuncts(body.where) if term != later)
    own = {r.number for r in body.relations}
    refs = dict.fromkeys(
        ref
        for clause in clauses(after)
        for ref in refs_of(clause)
        if ref.relation in own
    )
    names = {ref: Column(f"c{i}", ref.datatype) for i, ref in enumerate(refs)}
    joins = Select(
        relations=body.relations,
        outputs=tuple(Output(ref, column) for ref, column in names.items()),
        where=conjunction(now),
        neighbours=body.neighbours,
    )
    joins = _not_empty(joins, body)

    def ref(node: ColumnRef) -> Expression:
        return ColumnRef(rows.number, names[node]) if node in names else node

    source = _columns_of(rows, joins)
    rest = rebuild(replace(after, relations=(source,), neighbours=()), ref)
    assert isinstance(rest, Select), "rewriting keeps the shape"
    return joins, rest


def _not_empty(joins: Select, body: Select) -> Select:
    """Return the SELECT with some column: COUNT(*) needs rows, and no column."""
    if joins.outputs:
        return joins
    first = body.relations[0]
    column = first.columns[0]
    only = Output(ColumnRef(first.number, column), replace(column, name="c0"))
    return replace(joins, outputs=(only,))


def ordered(body: Select, rows: Relation) -> tuple[Select, Select]:
    """Take DISTINCT, ORDER BY, TOP and OFFSET from a SELECT, whose rest chunks finish.

    Returns
    -------
    chunks
        The SELECT with the first rows of each batch, and the keys of ORDER BY.
    rest
        DISTINCT, ORDER BY, TOP and OFFSET over `rows`.
    """
    values: dict[Expression, Column] = {}
    for place, output in enumerate(body.outputs):
        fresh = Column(f"c{place}", output.column.datatype)
        values.setdefault(output.expression, fresh)
    for key in body.orderings:
        fresh = Column(f"o{len(values)}", key.expression.datatype)
        values.setdefault(key.expression, fresh)
    chunks = replace(
        body,
        outputs=tuple(Output(value, column) for value, column in values.items()),
        limit=None if body.limit is None else body.limit + body.offset,
        offset=0,
        orderings=() if body.limit is None else body.orderings,
    )

    def sent(value: Expression) -> ColumnRef:
        return ColumnRef(rows.number, values[value])

    rest = Select(
        relations=(_columns_of(rows, chunks),),
        outputs=tuple(Output(sent(o.expression), o.column) for o in body.outputs),
        distinct=body.distinct,
        orderings=tuple(
            replace(o, expression=sent(o.expression)) for o in body.orderings
        ),
        limit=body.limit,
        offset=body.offset,
    )
    return chunks, rest


def _columns_of(rows: Relation, body: Select) -> Relation:
    assert isinstance(rows.source, StageRows), "what chunks send are a stage's rows"
    return replace(rows, source=replace(rows.source, columns=body.columns))


def bucketed_by(body: Select) -> tuple[Column, ...]:
    """Return the columns by which rows may be brought together for a merge.

    Rows that a SELECT over the rows of a stage puts into one group, one partition of
    every window, or takes for duplicates, agree in these columns; none where there is
    no such column.
    """
    over = windows(body)
    if body.groups:
        values = body.groups
    elif over:
        values = over[0].partition
    else:
        values = tuple(o.expression for o in body.outputs if body.distinct)
    shared = (v for v in values if all(v in w.partition for w in over))
    return tuple(dict.fromkeys(v.column for v in shared if isinstance(v, ColumnRef)))


def ends_in_place(body: Select, whole: Whole, *, top: bool) -> bool:
    """Whether the rows of all places are the answer, as they come."""
    if body.orderings or body.offset or not distinct_in_place(body, whole):
        return False
    return body.limit is None or (top and not body.distinct)
