"""Take a query apart into stages: what chunks answer, and what is made of it.

The rule is one: **the largest part that chunks can answer alone becomes a fragment**
(`qserv.plan.relations` proves it, `qserv.plan.finish` says how far it goes), and what
is in the way is fetched first: it becomes a stage of its own, planned by the same rule,
whose rows every worker gets (broadcast), or which are brought together by hash with
those that they are joined to. What is left over the rows of stages runs in the czar.

``SELECT … FROM Object WHERE objectId IN (SELECT objectId FROM Source WHERE flux > 9)``
    One fragment: a chunk holds all sources of its objects.
``SELECT … FROM Object o WHERE o.mag < (SELECT AVG(mag) FROM Object)``
    The average is two stages (partial sums, their merge); its one row is broadcast to
    the fragment.
``SELECT … FROM Source s JOIN Visit2 v ON s.visit = v.visit`` (both in chunks)
    The smaller side is a stage, broadcast; if both are large, both are spooled by a
    hash of ``visit`` and joined bucket by bucket.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from qserv.catalog.snapshot import Family, Snapshot
from qserv.catalog.tables import Column, DataType
from qserv.plan import finish
from qserv.plan.aggregate import split
from qserv.plan.cut import component, cut, halves
from qserv.plan.estimate import rows_of, width
from qserv.plan.expressions import (
    ColumnRef,
    Exists,
    Expression,
    InQuery,
    InValues,
    Literal,
    Scalar,
    Subquery,
    conjunction,
    conjuncts,
    map_children,
    walk,
)
from qserv.plan.keys import Held, director_of
from qserv.plan.limits import Sizes
from qserv.plan.plan import Extent, Fragment, Input, Residual, Spool, Stage
from qserv.plan.query import (
    Body,
    Combined,
    JoinKind,
    Operator,
    Output,
    Relation,
    Select,
    Shared,
    StageRows,
    all_of,
    free,
    map_clauses,
    rebuild,
    references,
    relations_of,
    renumbered,
    selects,
)
from qserv.plan.relations import Placement, Sky, anchors, place, place_inside
from qserv.plan.render import listed
from qserv.plan.restrict import describe, restrict
from qserv.plan.statement import Statement


@dataclass(frozen=True, slots=True)
class Buckets:
    """Rows that were brought together by hash: so many buckets, as chunks are."""

    count: int


@dataclass(frozen=True, slots=True)
class Local:
    """A query that workers answer, each row of its answer in one chunk.

    Parameters
    ----------
    body
        With its relations placed.
    domain
        The family whose chunks it runs on, or buckets; None where it reads copies alone.
    held
        By output name: the columns that hold director keys of own rows.
    why
        How its relations are placed, for EXPLAIN.
    """

    body: Body
    domain: "Family | Buckets | None"
    held: Mapping[str, Held] = field(default_factory=dict)
    why: str = ""


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
        return Around(self.domain, relations, _both(self.sky, sky))


def _both(one: Sky, other: Sky) -> Sky:
    families = {**one.families, **other.families}
    return Sky(families, {**one.keys, **other.keys})


_NESTED = Exists | InQuery | Scalar | InValues

_BUCKETS: Final = (8, 256)
"""The least buckets that keep some workers busy, and the most files of a batch."""

_UNKNOWN = -1
"""The stage of rows that are yet to be made."""


class Preparer:
    """Takes one query apart.

    Parameters
    ----------
    snapshot
        What it is planned against.
    numbers
        Gives new relations their numbers.
    sizes
        From which size on rows stay among the workers.
    """

    def __init__(self, snapshot: Snapshot, numbers: "count[int]", sizes: Sizes) -> None:
        self._snapshot = snapshot
        self._sizes = sizes
        self._numbers = numbers
        self._computed: dict[int, StageRows] = {}
        self.stages: list[Stage] = []
        """The stages so far, in order."""

    def answer(self, body: Body) -> None:
        """Add the stages that answer a query, its own the last."""
        prepared = self._select(body, top=True) if isinstance(body, Select) else None
        self._add(self.prepare(body) if prepared is None else prepared)

    def prepare(self, body: Body) -> Prepared:
        """Take a query apart; adds the stages whose rows it needs."""
        if isinstance(body, Combined):
            return self._combined(body)
        return self._select(body, top=False)

    # -- stages ----------------------------------------------------------------

    def rows(self, prepared: Prepared) -> StageRows:
        """Make the rows of a query those of a stage."""
        if isinstance(prepared, Central) and (known := _all_rows(prepared.body)):
            return known
        expected = rows_of(prepared.body)
        return StageRows(self._add(prepared), prepared.body.columns, expected)

    def _add(self, prepared: Prepared) -> int:
        match prepared:
            case Local():
                self.stages.append(self._fragment(prepared))
            case Central(body):
                self.stages.append(_residual(body))
        return len(self.stages) - 1

    def _spooled(self, local: Local, keys: tuple[Column, ...], count: int) -> StageRows:
        """Keep the rows of a query on the workers, in buckets by hash."""
        spool = Spool(tuple(c.name for c in keys), count)
        self.stages.append(self._fragment(local, spool))
        number, expected = len(self.stages) - 1, rows_of(local.body)
        return StageRows(number, local.body.columns, expected, count)

    def _buckets(self, size: float) -> int:
        """Return in how many buckets so many bytes are spooled."""
        least, most = _BUCKETS
        return int(min(most, max(least, size / self._sizes.bucket)))

    def _fragment(self, local: Local, spool: Spool | None = None) -> Fragment:
        body, restrictors = restrict(local.body, self._snapshot)
        writer = Statement()
        sql = writer.body(body)
        domain = local.domain
        family = domain if isinstance(domain, Family) else None
        why = [f"relations  {local.why}"] if local.why else []
        why += [f"restrict   {describe(restrictors)}"] if restrictors else []
        places = {r.number: i for i, r in enumerate(writer.scanned)}
        return Fragment(
            sql=sql,
            parameters=tuple(p for p in writer.parameters if isinstance(p, str)),
            sources=writer.sources(),
            columns=body.columns,
            family=None if family is None else family.name,
            tree_version=None if family is None else family.tree_version,
            inputs=tuple(Input(s, how) for s, how in writer.stages.items()),
            restrictors=restrictors if family else (),
            needed=_needed(body, places),
            limit=_enough(body),
            buckets=domain.count if isinstance(domain, Buckets) else 0,
            spool=spool,
            expected=rows_of(body),
            why=tuple(why),
        )

    # -- SELECT ----------------------------------------------------------------

    def _select(self, body: Select, *, top: bool) -> Prepared:
        if not top and body.limit is None and not body.offset:
            body = replace(body, orderings=())
        body, sky = self._sources(body)
        while sky.families and (candidates := anchors(body, sky)):
            tried = [(place(body, sky, anchor), anchor) for anchor in candidates]
            best, anchor = min(tried, key=lambda t: self._cost(body, t[0]))
            if not best.missing:
                family = sky.families[anchor.number]
                return self._finished(body, sky, best, family, top=top)
            if (hashed := self._hashed(body, best, top=top)) is not None:
                return hashed
            body, sky = self._fetched(body, sky, best.missing)
        return self._without_chunks(self._reduced(body, sky))

    def _hashed(
        self, body: Select, placement: Placement, *, top: bool
    ) -> Prepared | None:
        """Join two large sides bucket by bucket; None where one of them is small."""
        found = halves(body, component(body, placement.missing), self._numbers)
        if found is None:
            return None
        sizes = [rows_of(s) * width(s.columns) for s in (found.left, found.right)]
        if min(sizes) <= self._sizes.broadcast:
            return None
        left, right = (self.prepare(s) for s in (found.left, found.right))
        if not isinstance(left, Local) or not isinstance(right, Local):
            sides = (left, right)
            return self._select(found.joined([self.rows(s) for s in sides]), top=top)
        count = self._buckets(max(sizes))
        ours = self._spooled(left, found.left_keys, count)
        theirs = self._spooled(right, found.right_keys, count)
        body = found.joined([ours, theirs])
        if body.grouped or finish.windows(body) or body.distinct:
            rows = Relation(next(self._numbers), "", StageRows(_UNKNOWN, (), 0.0))
            chunks, rest = self._parted(body, rows)
            around = Around(Buckets(count), {}, Sky({}, {}))
            local = Local(self._settled(chunks, around), Buckets(count))
            return self._merged(local, rest, top=top)
        return self._in_buckets(body, count, (), top=top)

    def _parted(self, body: Select, rows: Relation) -> tuple[Select, Select]:
        if body.grouped:
            parts = split(body, rows)
            return parts.partial, parts.whole
        if finish.windows(body):
            return finish.gathered(body, rows)
        return finish.ordered(body, rows)

    def _cost(self, body: Select, placement: Placement) -> tuple[float, float]:
        """Return the bytes to broadcast, and those to read around the chunks."""
        relations = {r.number: r for r in placement.placed(body).relations}
        missing = sum(self._size(body, relations[n]) for n in placement.missing)
        around = (r for r in relations.values() if r.extent is Extent.HALO)
        return missing, sum(self._size(body, r) for r in around)

    def _size(self, body: Select, relation: Relation) -> float:
        side, _ = cut(body, (relation,), _UNKNOWN)
        return rows_of(side) * width(side.columns)

    def _sources(self, body: Select, *, inside: bool = False) -> tuple[Select, Sky]:
        """Take the queries in FROM apart, and see which relations lie in chunks.

        `inside` an expression, and beside chunks, no query is left to the czar.
        """
        families: dict[int, Family] = {}
        keys: dict[ColumnRef, Held] = {}
        relations: list[Relation] = []
        central: set[int] = set()
        for relation in body.relations:
            prepared = self._source(relation)
            if prepared is None:
                relations.append(self._stored(relation, families, keys))
                continue
            relations.append(replace(relation, source=prepared.body))
            if isinstance(prepared, Central):
                central.add(relation.number)
            elif isinstance(prepared.domain, Family):
                families[relation.number] = prepared.domain
                keys |= _exported(relation.number, prepared)
        if families or inside:
            relations = [self._row_source(r, central) for r in relations]
        return replace(body, relations=tuple(relations)), Sky(families, keys)

    def _row_source(self, relation: Relation, central: Collection[int]) -> Relation:
        """Make a query that the czar answers a stage, for workers to read."""
        if relation.number not in central:
            return relation
        assert isinstance(relation.source, Body), "only a query is central"
        return replace(relation, source=self.rows(Central(relation.source)))

    def _source(self, relation: Relation) -> Prepared | None:
        """Take a query in FROM apart; None for a table or the rows of a stage."""
        match relation.source:
            case Shared() as shared:
                prepared = self._shared(shared)
            case Select() | Combined() as body:
                prepared = self.prepare(body)
            case _:
                return None
        if not isinstance(prepared, Local) or isinstance(prepared.domain, Family):
            return prepared
        if prepared.domain is None and _is_repeatable(prepared.body):
            return prepared
        return Central(all_of(self.rows(prepared), next(self._numbers)))

    def _shared(self, shared: Shared) -> Prepared:
        """Compute a query of WITH once, unless each chunk can do so where it is read."""
        known = self._computed.get(shared.number)
        if known is None:
            prepared = self.prepare(renumbered(shared.body, self._numbers))
            if isinstance(prepared, Local) and _is_repeatable(shared.body):
                return prepared
            known = self._computed[shared.number] = self.rows(prepared)
        return Central(all_of(known, next(self._numbers)))

    def _stored(
        self,
        relation: Relation,
        families: dict[int, Family],
        keys: dict[ColumnRef, Held],
    ) -> Relation:
        stored = relation.stored
        if stored is None or not stored.table.partitioned:
            return _copy(relation)
        families[relation.number] = self._snapshot.family(stored.release)
        director, key = director_of(relation), relation.key
        if director is not None and key is not None:
            keys[key] = Held(director, key.column.nullable)
        return relation

    # -- what is in the way ----------------------------------------------------

    def _fetched(
        self, body: Select, sky: Sky, missing: Iterable[int]
    ) -> tuple[Select, Sky]:
        """Fetch what is not local, with what it is joined to among the like."""
        taken = component(body, set(missing))
        number = next(self._numbers)
        side, body = cut(body, taken, number)
        rows = self.rows(self.prepare(side))
        return _with_source(body, number, rows), _less(sky, taken)

    def _reduced(self, body: Select, sky: Sky) -> Select:
        """Fetch the null-extended sides of a query whose preserved side is a copy.

        Of such a side only those rows matter that ON joins to some copy.
        """
        for relation in [r for r in body.relations if r.number in sky.families]:
            number = next(self._numbers)
            side, body = cut(body, (relation,), number)
            joined = next(r for r in body.relations if r.number == number)
            side = self._semijoined(side, joined, body)
            body = _with_source(body, number, self.rows(self.prepare(side)))
        return body

    def _semijoined(self, side: Select, joined: Relation, body: Select) -> Select:
        if joined.condition is None:
            return side
        mine = {
            c: o.expression for c, o in zip(side.columns, side.outputs, strict=True)
        }
        used = relations_of(joined.condition) - {joined.number}
        others = [r for r in body.relations if r.number in used]
        if len(others) < len(used) or not others:
            return side
        others = [self._as_copy(r) for r in others]
        first, *rest = (replace(r, condition=None) for r in others)
        inner = Select(
            relations=(
                replace(first, join=JoinKind.FIRST),
                *(replace(r, join=JoinKind.INNER) for r in rest),
            ),
            outputs=(_FOUND,),
            where=joined.condition,
        )

        def ref(node: ColumnRef) -> Expression:
            return mine[node.column] if node.relation == joined.number else node

        partner = Exists(renumbered(rebuild(inner, ref), self._numbers))
        where = conjunction((*conjuncts(side.where), partner))
        return replace(side, where=where)

    def _as_copy(self, relation: Relation) -> Relation:
        if isinstance(relation.source, Body):
            return replace(relation, source=self.rows(Central(relation.source)))
        return relation

    def _without_chunks(self, body: Select) -> Prepared:
        """Answer a query over copies: by one worker, or with rows of stages here."""
        body = self._settled(body, None)
        if not any(isinstance(r.source, StageRows) for r in _leaves(body)):
            return Local(body, None, why="replicated tables alone: one worker answers")
        return Central(self._centralised(body))

    def _centralised(self, body: Select) -> Body:
        """Bring the replicated tables of a query to the czar."""
        used: dict[int, dict[Column, None]] = {}
        for ref in references(body):
            used.setdefault(ref.relation, {})[ref.column] = None

        def here(relation: Relation) -> Relation:
            if relation.stored is None:
                return relation
            columns = tuple(used.get(relation.number, relation.columns[:1]))
            outputs = tuple(Output(ColumnRef(relation.number, c), c) for c in columns)
            only = replace(relation, join=JoinKind.FIRST, condition=None)
            local = Local(Select((_copy(only),), outputs), None)
            return replace(relation, source=self.rows(local))

        return rebuild(body, lambda ref: ref, here)

    # -- set operations --------------------------------------------------------

    def _combined(self, body: Combined) -> Prepared:
        left, right = self.prepare(body.left), self.prepare(body.right)
        if isinstance(left, Local) and isinstance(right, Local):
            both = replace(body, left=left.body, right=right.body)
            held = _held_by_both(body, left, right)
            union = body.operator is Operator.UNION and body.duplicates
            whole = any(not h.nullable for h in held.values())
            if left.domain is right.domain and (union or whole or left.domain is None):
                return Local(both, left.domain, held, f"{left.why} | {right.why}")
        sides = (self._side(p, distinct=not body.duplicates) for p in (left, right))
        ours, theirs = sides
        return Central(replace(body, left=ours, right=theirs))

    def _side(self, prepared: Prepared, *, distinct: bool) -> Body:
        if isinstance(prepared, Central):
            return prepared.body
        if distinct:
            prepared = _distinct(prepared)
        return all_of(self.rows(prepared), next(self._numbers))

    # -- what follows the joins ------------------------------------------------

    def _finished(
        self,
        body: Select,
        sky: Sky,
        placement: Placement,
        family: Family,
        *,
        top: bool,
    ) -> Prepared:
        """Let the chunks finish as much as they can, and merge the rest."""
        body, why = placement.placed(body), placement.note(body)
        around = Around(family, {r.number: r for r in body.relations}, sky)
        held = finish.held(body, sky.keys)
        rows = Relation(next(self._numbers), "", StageRows(_UNKNOWN, (), 0.0))
        grouped = finish.grouped_in_chunk(body, held)
        windowed = finish.windowed_in_chunk(body, held)
        if grouped and windowed and _streams(body, held, top=top):
            settled = self._settled(body, around)
            return Local(settled, family, _exports(settled, held), why)
        if grouped and windowed:
            chunks, rest = finish.ordered(body, rows)
        else:
            chunks, rest = self._parted(body, rows)
        local = Local(self._settled(chunks, around), family, {}, why)
        return self._merged(local, rest, top=top)

    def _merged(self, local: Local, rest: Select, *, top: bool) -> Prepared:
        """Merge the rows of chunks: in the czar, or in buckets if they are many."""
        size = rows_of(local.body) * width(local.body.columns)
        keys = finish.bucketed_by(rest)
        if size <= self._sizes.merge or not keys:
            return self._select(_with_rows(rest, self.rows(local)), top=top)
        made = self._spooled(local, keys, self._buckets(size))
        return self._in_buckets(_with_rows(rest, made), made.buckets, keys, top=top)

    def _in_buckets(
        self, body: Select, count: int, keys: tuple[Column, ...], *, top: bool
    ) -> Prepared:
        """Answer a SELECT over rows that were brought together by hash of keys."""
        domain = Buckets(count)
        around = Around(domain, {}, Sky({}, {}))
        if finish.ends_in_buckets(body, keys, top=top):
            return Local(self._settled(body, around), domain)
        rows = Relation(next(self._numbers), "", StageRows(_UNKNOWN, (), 0.0))
        chunks, rest = finish.ordered(body, rows)
        made = self.rows(Local(self._settled(chunks, around), domain))
        return self._select(_with_rows(rest, made), top=top)

    # -- subqueries in expressions ---------------------------------------------

    def _settled(self, body: Select, around: Around | None) -> Select:
        """Give every subquery in a SELECT's clauses a place, too."""
        # One subquery in two clauses is one value: ORDER BY names what is selected.
        known: dict[Subquery, Subquery] = {}
        terms = tuple(
            self._node(t, around, {}, positive=True) for t in conjuncts(body.where)
        )

        def node(clause: Expression) -> Expression:
            return self._node(clause, around, known, positive=False)

        rest = map_clauses(replace(body, where=None), node)
        return replace(rest, where=conjunction(terms))

    def _node(
        self,
        node: Expression,
        around: Around | None,
        known: dict[Subquery, Subquery],
        *,
        positive: bool,
    ) -> Expression:
        if not any(isinstance(n, _NESTED) for n in walk(node)):
            return node
        changed = map_children(
            node, lambda n: self._node(n, around, known, positive=False)
        )
        match changed:
            case Exists() | InQuery() | Scalar():
                if changed not in known:
                    known[changed] = self._subquery(changed, around, positive=positive)
                return known[changed]
            case InValues():
                rows = all_of(self._listed(changed), next(self._numbers))
                return InQuery(changed.argument, rows)
            case _:
                return changed

    def _listed(self, node: InValues) -> StageRows:
        """Make a long list the rows of a stage."""
        column = Column("value", node.kind)
        expected = float(len(node.values))
        sql = listed("$1", node.kind)
        why = (f"list       {len(node.values):,} values",)
        self.stages.append(
            Residual(sql, (node.values,), (column,), expected=expected, why=why)
        )
        return StageRows(len(self.stages) - 1, (column,), expected)

    def _subquery(
        self, node: Subquery, around: Around | None, *, positive: bool
    ) -> Subquery:
        if free(node.body):
            return replace(node, body=self._correlated(node.body, around))
        prepared = self.prepare(node.body)
        if isinstance(prepared, Local):
            if around is not None and _is_semijoin(node, prepared, around, positive):
                return replace(node, body=prepared.body)
            if prepared.domain is None and _is_repeatable(prepared.body):
                return replace(node, body=prepared.body)
            prepared = _enough_for(node, prepared)
        rows = self.rows(prepared)
        return replace(node, body=all_of(rows, next(self._numbers)))

    def _correlated(self, body: Body, around: Around | None) -> Body:
        """Place a correlated subquery beside its outer query, or fetch its rows."""
        if isinstance(body, Combined):
            left, right = (self._correlated(b, around) for b in (body.left, body.right))
            return replace(body, left=left, right=right)
        body, sky = self._sources(body, inside=True)
        while True:
            if around is None:
                missing: Iterable[int] = sky.families
            else:
                known = _both(around.sky, sky)
                found = place_inside(body, known, _family(around), around.relations)
                missing = found.missing
            if not missing:
                break
            body, sky = self._fetched(body, sky, missing)
        if around is None:
            return self._settled(body, None)
        placed = found.placed(body)
        return self._settled(placed, around.joined(placed, sky))


_FOUND: Final = Output(Literal(1, DataType.BIGINT), Column("found", DataType.BIGINT))


def _residual(body: Body) -> Residual:
    writer = Statement(vectors=False)
    sql = writer.body(body)
    inputs = tuple(writer.stages)
    parameters = tuple(writer.parameters)
    return Residual(sql, parameters, body.columns, inputs, expected=rows_of(body))


def _all_rows(body: Body) -> StageRows | None:
    """Return the stage whose rows a query gives as they are, if it does."""
    if not isinstance(body, Select) or not isinstance(
        rows := body.relations[0].source, StageRows
    ):
        return None
    return rows if body == all_of(rows, body.relations[0].number) else None


def _is_repeatable(body: Body) -> bool:
    """Whether a query has the same rows wherever it is read: TOP may take any."""
    return all(s.limit is None and not s.offset for s in selects(body))


def _leaves(body: Body) -> Iterator[Relation]:
    for select in selects(body):
        yield from select.relations


def _exported(number: int, local: Local) -> dict[ColumnRef, Held]:
    """Return the columns of a query in FROM that hold director keys."""
    by_name = {c.name: c for c in local.body.columns}
    return {ColumnRef(number, by_name[n]): held for n, held in local.held.items()}


def _copy(relation: Relation) -> Relation:
    return replace(relation, extent=Extent.COPY)


def _with_source(body: Select, number: int, rows: StageRows) -> Select:
    relations = (
        replace(r, source=rows) if r.number == number else r for r in body.relations
    )
    return replace(body, relations=tuple(relations))


def _with_rows(rest: Select, made: StageRows) -> Select:
    """Put the rows of a stage where they were yet to be made."""

    def found(relation: Relation) -> Relation:
        source = relation.source
        if isinstance(source, StageRows) and source.stage == _UNKNOWN:
            return replace(relation, source=made)
        return relation

    changed = rebuild(rest, lambda ref: ref, found)
    assert isinstance(changed, Select), "rewriting keeps the shape"
    return changed


def _less(sky: Sky, relations: Iterable[Relation]) -> Sky:
    gone = {r.number for r in relations}
    families = {n: f for n, f in sky.families.items() if n not in gone}
    return Sky(families, {k: h for k, h in sky.keys.items() if k.relation not in gone})


def _needed(body: Body, places: Mapping[int, int]) -> tuple[tuple[int, ...], ...]:
    """Return groups of sources, of each of which a chunk must have own rows."""
    if isinstance(body, Combined):
        left, right = (_needed(b, places) for b in (body.left, body.right))
        if body.operator is not Operator.UNION:
            return left
        return tuple((*ours, *theirs) for ours in left for theirs in right)
    if any(r.join is JoinKind.FULL for r in body.relations):
        return (tuple(places[r.number] for r in body.relations),)
    groups: list[tuple[int, ...]] = []
    for relation in body.relations:
        if relation.join not in {JoinKind.FIRST, JoinKind.INNER}:
            continue
        if isinstance(relation.source, Body):
            groups += _needed(relation.source, places)
        elif relation.number in places and relation.extent is Extent.OWN:
            groups.append((places[relation.number],))
    return tuple(groups)


def _enough(body: Body) -> int | None:
    """Return how many rows of a fragment are enough, whichever they are."""
    if not isinstance(body, Select) or body.orderings or body.distinct:
        return None
    return body.limit


def _held_by_both(body: Combined, left: Local, right: Local) -> dict[str, Held]:
    found: dict[str, Held] = {}
    names = zip(body.columns, left.body.columns, right.body.columns, strict=True)
    for column, ours, theirs in names:
        one, other = left.held.get(ours.name), right.held.get(theirs.name)
        if one is not None and other is not None and one.director == other.director:
            nullable = one.nullable or other.nullable
            found[column.name] = Held(one.director, nullable)
    return found


def _distinct(local: Local) -> Local:
    """Let each batch send a row once."""
    body = local.body
    if not isinstance(body, Select) or body.limit is not None:
        return local
    return replace(local, body=replace(body, distinct=True))


def _enough_for(node: Subquery, local: Local) -> Local:
    """Let chunks send no more than EXISTS and IN must know."""
    match node:
        case InQuery():
            return _distinct(local)
        case Exists() if isinstance(local.body, Select) and local.body.limit is None:
            return replace(local, body=replace(local.body, limit=1))
        case _:
            return local


def _streams(body: Select, held: Mapping[ColumnRef, Held], *, top: bool) -> bool:
    """Whether the rows of the chunks are the answer, as they come."""
    if body.orderings or body.offset or not finish.distinct_in_chunk(body, held):
        return False
    return top or body.limit is None


def _exports(body: Select, held: Mapping[ColumnRef, Held]) -> dict[str, Held]:
    return {
        o.column.name: held[o.expression]
        for o in body.outputs
        if isinstance(o.expression, ColumnRef) and o.expression in held
    }


def _is_semijoin(node: Subquery, local: Local, around: Around, positive: bool) -> bool:
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
    known = relation.join in {JoinKind.FIRST, JoinKind.INNER} and not ours.nullable
    same = ours.director == theirs.director
    return same and (positive or (known and not theirs.nullable))


def _family(around: Around) -> Family | None:
    return around.domain if isinstance(around.domain, Family) else None
