"""What preparing a query makes of its parts: for the workers, or for the czar."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from qserv.catalog.snapshot import Family
from qserv.plan.aggregates import AGGREGATES
from qserv.plan.depth import rebuild
from qserv.plan.expressions import ColumnRef, Exists, InQuery, Subquery
from qserv.plan.finish import windows
from qserv.plan.keys import Held, second_director_of
from qserv.plan.plan import Extent
from qserv.plan.query import (
    Body,
    Buckets,
    Combined,
    Relation,
    Select,
    StageRows,
    all_of,
    selects,
)
from qserv.plan.relations import Sky

UNKNOWN: Final = -1
"""The stage of rows that are yet to be made."""
_TELLING: Final = {"RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST"}
"""Window functions of an order that ties do not change."""


@dataclass(frozen=True, slots=True)
class Local:
    """A query that workers answer, each row of its answer in one chunk.

    Parameters
    ----------
    body
        With its relations placed.
    domain
        The family whose chunks it runs on, or buckets; None: it reads copies alone.
    held
        By output name: the columns that hold director keys of own rows.
    hashed
        The outputs in which rows agree that were brought together.
    """

    body: Body
    domain: "Family | Buckets | None"
    held: Mapping[str, Held] = field(default_factory=dict)
    hashed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Central:
    """A query over the rows of earlier stages alone: the czar answers it."""

    body: Body


Prepared = Local | Central


@dataclass(frozen=True, slots=True)
class Around:
    """What a subquery sees of the queries around it, in a fragment.

    Parameters
    ----------
    domain
        Whose chunks, or which buckets, the fragment runs on.
    relations
        The placed relations of all queries around it, by number.
    sky
        What is known of them.
    """

    domain: Family | Buckets
    relations: Mapping[int, Relation]
    sky: Sky

    def joined(self, body: Select, sky: Sky) -> "Around":
        """Return what a subquery of that placed subquery sees."""
        relations = {**self.relations, **{r.number: r for r in body.relations}}
        return Around(self.domain, relations, both(self.sky, sky))

    @property
    def family(self) -> Family | None:
        """The family whose chunks the fragment runs on, if it does."""
        return self.domain if isinstance(self.domain, Family) else None


def both(one: Sky, other: Sky) -> Sky:
    """Return what is known of the relations of two queries."""
    families = {**one.families, **other.families}
    seconds = {**one.seconds, **other.seconds}
    return Sky(families, {**one.keys, **other.keys}, seconds)


def all_rows(body: Body) -> StageRows | None:
    """Return the stage whose rows a query gives as they are, if it does."""
    if not isinstance(body, Select) or not isinstance(
        rows := body.relations[0].source, StageRows
    ):
        return None
    return rows if body == all_of(rows, body.relations[0].number) else None


def is_repeatable(body: Body) -> bool:
    """Whether a query has the same rows wherever it is read.

    TOP may take any rows, and ROW_NUMBER may number them as it likes.
    """
    every = list(selects(body))
    if any(s.limit is not None or s.offset for s in every):
        return False
    ranked = (w for s in every for w in windows(s))
    return all(
        w.function in _TELLING
        or (w.function in AGGREGATES and not w.orderings and not w.frame)
        for w in ranked
    )


def unknown_rows(numbers: "count[int]") -> Relation:
    """Return a relation for the rows of a stage that is yet to be made."""
    return Relation(next(numbers), "", StageRows(UNKNOWN, (), 0.0))


def leaves(body: Body) -> Iterator[Relation]:
    """Yield the relations of a query, at any depth."""
    for select in selects(body):
        yield from select.relations


def exported(number: int, local: Local) -> dict[ColumnRef, Held]:
    """Return the columns of a query in FROM that hold director keys."""
    by_name = {c.name: c for c in local.body.columns}
    return {ColumnRef(number, by_name[n]): held for n, held in local.held.items()}


def second_keys(relation: Relation) -> dict[ColumnRef, Held]:
    """Return the column of a ref-match table that holds its second director's keys."""
    director, key = second_director_of(relation), relation.second_key
    if director is None or key is None:
        return {}
    return {key: Held(director, key.column.nullable)}


def as_copy(relation: Relation) -> Relation:
    """Return a relation of which every worker has all rows."""
    return replace(relation, extent=Extent.COPY)


def with_source(body: Select, number: int, rows: StageRows) -> Select:
    """Let a relation of a SELECT be the rows of a stage."""
    relations = (
        replace(r, source=rows) if r.number == number else r for r in body.relations
    )
    return replace(body, relations=tuple(relations))


def homes(body: Body) -> frozenset[str]:
    """Return where the rows of a query arise: in releases; nowhere for copies."""
    if isinstance(body, Combined):
        return homes(body.left) | homes(body.right)
    found: set[str] = set()
    for relation in body.relations:
        if isinstance(relation.source, Body):
            found |= homes(relation.source)
        elif relation.stored is not None and relation.stored.table.partitioned:
            found.add(relation.stored.release)
    return frozenset(found)


def with_rows(rest: Select, made: StageRows | Combined) -> Select:
    """Put the rows of a stage where they were yet to be made."""

    def found(relation: Relation) -> Relation:
        source = relation.source
        if isinstance(source, StageRows) and source.stage == UNKNOWN:
            return replace(relation, source=made)
        return relation

    changed = rebuild(rest, lambda ref: ref, found)
    assert isinstance(changed, Select), "rewriting keeps the shape"
    return changed


def less(sky: Sky, relations: Iterable[Relation]) -> Sky:
    """Return what is known without some relations."""
    gone = {r.number for r in relations}
    families = {n: f for n, f in sky.families.items() if n not in gone}
    keys, seconds = (
        {k: h for k, h in known.items() if k.relation not in gone}
        for known in (sky.keys, sky.seconds)
    )
    return Sky(families, keys, seconds, sky.far - gone)


def held_by_both(body: Combined, left: Local, right: Local) -> dict[str, Held]:
    """Return the columns in which both sides have keys of one director."""
    found: dict[str, Held] = {}
    names = zip(body.columns, left.body.columns, right.body.columns, strict=True)
    for column, ours, theirs in names:
        one, other = left.held.get(ours.name), right.held.get(theirs.name)
        if one is not None and other is not None and one.director == other.director:
            nullable = one.nullable or other.nullable
            found[column.name] = Held(one.director, nullable)
    return found


def are_together(left: Local, right: Local) -> bool:
    """Whether two queries are answered on the chunks of one family, or in one place."""
    both = (left.domain, right.domain)
    if all(isinstance(domain, Buckets) for domain in both):
        return left.domain == right.domain
    return left.domain is right.domain


def hashed_alike(left: Local, right: Local) -> bool:
    """Whether equal rows of two queries share a bucket, if both are in one exchange."""
    places = []
    for side in (left, right):
        names = [column.name for column in side.body.columns]
        places.append([names.index(name) for name in side.hashed])
    return bool(places[0]) and places[0] == places[1]


def once_each(local: Local) -> Local:
    """Let each batch send a row once."""
    body = local.body
    if not isinstance(body, Select) or body.limit is not None:
        return local
    return replace(local, body=replace(body, distinct=True))


def enough_for(node: Subquery, local: Local) -> Local:
    """Let chunks send no more than EXISTS and IN must know."""
    match node:
        case InQuery():
            return once_each(local)
        case Exists() if isinstance(local.body, Select) and local.body.limit is None:
            return replace(local, body=replace(local.body, limit=1))
        case _:
            return local


def exports(body: Select, held: Mapping[ColumnRef, Held]) -> dict[str, Held]:
    """Return the outputs of a SELECT that are director keys of own rows."""
    return {
        o.column.name: held[o.expression]
        for o in body.outputs
        if isinstance(o.expression, ColumnRef) and o.expression in held
    }


def is_semijoin(node: Subquery, local: Local, around: Around, positive: bool) -> bool:
    """Whether a chunk has every row of an IN-subquery that can equal its argument.

    With NULLs about, IN over fewer rows is FALSE for NULL: the same only where it must
    be true.
    """
    if not isinstance(node, InQuery) or local.domain is not around.domain:
        return False
    argument, (column,) = node.argument, local.body.columns
    theirs = local.held.get(column.name)
    if not isinstance(argument, ColumnRef) or theirs is None:
        return False
    relation, ours = (
        around.relations.get(argument.relation),
        around.sky.keys.get(argument),
    )
    if relation is None or ours is None or relation.extent is not Extent.OWN:
        return False
    known = relation.join.is_inner and not ours.nullable
    same = ours.director == theirs.director
    return same and (positive or (known and not theirs.nullable))
