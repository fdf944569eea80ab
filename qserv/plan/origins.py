"""See where the relations of a SELECT come from: chunks, copies, buckets, the czar.

A query in FROM is taken apart first. What chunks answer stays in FROM, to be answered
with the SELECT around it; so does what is answered in buckets, where nothing else but
copies is in FROM. The rest becomes the rows of a stage.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol

from qserv.catalog.snapshot import Family, Snapshot
from qserv.errors import UnsupportedQuery
from qserv.plan.depth import free, renumbered
from qserv.plan.estimate import rows_of, width
from qserv.plan.expressions import ColumnRef
from qserv.plan.keys import Held, director_of
from qserv.plan.limits import Sizes
from qserv.plan.prepared import (
    Central,
    Local,
    Prepared,
    as_copy,
    exported,
    is_repeatable,
    second_keys,
)
from qserv.plan.query import (
    Body,
    Buckets,
    Combined,
    Relation,
    Select,
    Shared,
    StageRows,
    all_of,
)
from qserv.plan.relations import Sky
from qserv.plan.stages import Stages


class Preparing(Protocol):
    """What takes the queries in FROM apart."""

    def prepare(self, body: Body) -> Prepared:
        """Take a query apart; adds the stages whose rows it needs."""
        ...


@dataclass(slots=True)
class Origins:
    """Where the relations of one SELECT come from, by their numbers.

    Parameters
    ----------
    families, keys, seconds
        Of what lies in chunks, as in `Sky`.
    central
        Queries that the czar answers.
    buckets
        Of queries that are answered in buckets, and rows that lie there.
    hashed
        Columns of these that were hashed, where all are among its columns.
    """

    families: dict[int, Family] = field(default_factory=dict)
    keys: dict[ColumnRef, Held] = field(default_factory=dict)
    seconds: dict[ColumnRef, Held] = field(default_factory=dict)
    central: set[int] = field(default_factory=set)
    buckets: dict[int, Buckets] = field(default_factory=dict)
    hashed: dict[int, tuple[ColumnRef, ...]] = field(default_factory=dict)

    def domain(self, body: Select) -> Buckets | None:
        """Return the buckets that answer the SELECT, which reads copies besides."""
        kept = any(r.number in self.buckets for r in body.relations if r.join.is_inner)
        domains = set(self.buckets.values())
        if self.families or not kept or len(domains) > 1:
            return None
        return domains.pop()


class Finder:
    """Finds where relations come from, and takes the queries among them apart.

    Parameters
    ----------
    preparing
        Takes queries apart.
    stages
        Where the stages that they need are added.
    snapshot
        What the query is planned against.
    sizes
        From which size on rows stay among the workers.
    numbers
        Gives new relations their numbers.
    """

    def __init__(
        self,
        preparing: Preparing,
        stages: Stages,
        snapshot: Snapshot,
        sizes: Sizes,
        numbers: "count[int]",
    ) -> None:
        self._preparing = preparing
        self._stages = stages
        self._snapshot = snapshot
        self._sizes = sizes
        self._numbers = numbers
        self._computed: dict[int, StageRows] = {}

    def found(self, body: Select) -> tuple[Select, Origins]:
        """Take the queries in FROM apart, and see where all relations come from."""
        origins = Origins()
        relations = tuple(self._relation(r, origins) for r in body.relations)
        return replace(body, relations=relations), origins

    def beside_chunks(self, body: Select, origins: Origins) -> tuple[Select, Sky]:
        """Make what chunks and the czar cannot read in place the rows of stages.

        Rows in buckets that are too many to broadcast stay where they are if they can
        be brought together with those of chunks.
        """
        kept = {r.number for r in body.relations if r.join.is_inner}
        far: set[int] = set()
        if kept & origins.families.keys():
            far = {r.number for r in body.relations if self._is_far(r, origins)}
        moved = origins.buckets.keys() - far
        if origins.families:
            moved |= origins.central
        sky = Sky(origins.families, origins.keys, origins.seconds, frozenset(far))
        return self.as_rows(body, origins, moved), sky

    def inside(
        self, body: Select, origins: Origins, domain: Family | Buckets | None
    ) -> tuple[Select, Sky]:
        """Make rows of stages what an expression of a query on `domain` cannot read.

        It reads rows that were brought together with those of the query.
        """
        here = {n for n, buckets in origins.buckets.items() if buckets == domain}
        moved = (origins.buckets.keys() - here) | origins.central
        sky = Sky(origins.families, origins.keys, origins.seconds)
        return self.as_rows(body, origins, moved), sky

    def as_rows(self, body: Select, origins: Origins, moved: Collection[int]) -> Select:
        """Make relations the rows of stages that are whole wherever they are read."""
        relations = tuple(
            self._as_rows(r, origins) if r.number in moved else r
            for r in body.relations
        )
        return replace(body, relations=relations)

    def _as_rows(self, relation: Relation, origins: Origins) -> Relation:
        match relation.source:
            case StageRows() as rows:
                prepared: Prepared = Local(
                    all_of(rows, next(self._numbers)), rows.buckets
                )
            case Select() | Combined() as body:
                domain = origins.buckets.get(relation.number)
                prepared = Local(body, domain) if domain else Central(body)
            case _:
                return relation
        return replace(relation, source=self._stages.rows(prepared))

    def _is_far(self, relation: Relation, origins: Origins) -> bool:
        if relation.number not in origins.buckets:
            return False
        source = relation.source
        rows = source.rows if isinstance(source, StageRows) else 0.0
        if isinstance(source, Select | Combined):
            rows = rows_of(source)
        return rows * width(relation.columns) > self._sizes.broadcast

    def _relation(self, relation: Relation, origins: Origins) -> Relation:
        number = relation.number
        match self._source(relation):
            case None:
                return self._stored(relation, origins)
            case Central(body):
                origins.central.add(number)
            case Local(body, Family() as family) as local:
                origins.families[number] = family
                origins.keys |= exported(number, local)
            case Local(body, Buckets() as buckets, hashed=hashed):
                origins.buckets[number] = buckets
                by_name = {c.name: c for c in body.columns}
                keys = (ColumnRef(number, by_name[name]) for name in hashed)
                origins.hashed[number] = tuple(keys)
            case Local(body):
                pass
        return replace(relation, source=body)

    def _stored(self, relation: Relation, origins: Origins) -> Relation:
        """Say of a table, or of the rows of a stage, where it lies."""
        number, source = relation.number, relation.source
        if isinstance(source, StageRows) and source.buckets is not None:
            origins.buckets[number] = source.buckets
            by_name = {c.name: c for c in source.columns}
            if all(name in by_name for name in source.keys):
                keys = (ColumnRef(number, by_name[name]) for name in source.keys)
                origins.hashed[number] = tuple(keys)
            return relation
        stored = relation.stored
        if stored is None or not stored.table.partitioned:
            return as_copy(relation)
        origins.families[number] = self._snapshot.family(stored.release)
        director, key = director_of(relation), relation.key
        if director is not None and key is not None:
            origins.keys[key] = Held(director, key.column.nullable)
        origins.seconds |= second_keys(relation)
        return relation

    def _source(self, relation: Relation) -> Prepared | None:
        """Take a query in FROM apart; None for a table or the rows of a stage."""
        match relation.source:
            case Shared() as shared:
                prepared = self._shared(shared)
            case Select() | Combined() as body:
                if free(body):
                    raise UnsupportedQuery(
                        "a RIGHT or FULL JOIN, or one in brackets, inside a subquery "
                        "names a column of the query around it, which is not answered "
                        "yet: put that condition into WHERE"
                    )
                prepared = self._preparing.prepare(body)
            case _:
                return None
        copies = isinstance(prepared, Local) and prepared.domain is None
        if not copies or is_repeatable(prepared.body):
            return prepared
        return Central(all_of(self._stages.rows(prepared), next(self._numbers)))

    def _shared(self, shared: Shared) -> Prepared:
        """Compute a query of WITH once, unless chunks can where it is read."""
        known = self._computed.get(shared.number)
        if known is None:
            prepared = self._preparing.prepare(renumbered(shared.body, self._numbers))
            if _is_in_place(prepared) and is_repeatable(shared.body):
                return prepared
            known = self._computed[shared.number] = self._stages.rows(prepared)
        return Central(all_of(known, next(self._numbers)))


def _is_in_place(prepared: Prepared) -> bool:
    """Whether rows can be computed again, from what lies there, wherever they are."""
    return isinstance(prepared, Local) and not isinstance(prepared.domain, Buckets)
