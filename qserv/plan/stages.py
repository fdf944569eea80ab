"""Write the parts of a query as the stages of its plan."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from qserv.catalog.snapshot import Family, Snapshot
from qserv.catalog.tables import Column, DataType
from qserv.plan.estimate import joined_rows, rows_of
from qserv.plan.expressions import InValues
from qserv.plan.limits import Sizes
from qserv.plan.plan import (
    Extent,
    Fragment,
    Input,
    Residual,
    Spool,
    Stage,
    SystemRows,
)
from qserv.plan.prepared import Central, Local, Prepared, all_rows
from qserv.plan.query import (
    Body,
    Buckets,
    Combined,
    JoinKind,
    Neighbours,
    Operator,
    Relation,
    Select,
    StageRows,
    selects,
)
from qserv.plan.render import listed
from qserv.plan.restrict import describe, restrict
from qserv.plan.statement import Statement
from qserv.plan.steady import Unsteady, unsteady

_BUCKETS: Final = (8, 256)
"""The least buckets that keep some workers busy, and the most files of a batch."""


class Stages:
    """The stages of a plan, as they are added.

    Parameters
    ----------
    snapshot
        What the query is planned against.
    sizes
        From which size on rows stay among the workers.
    """

    def __init__(self, snapshot: Snapshot, sizes: Sizes) -> None:
        self._snapshot = snapshot
        self._sizes = sizes
        self._unsteady: defaultdict[int, Unsteady] = defaultdict(Unsteady)
        self._listed: dict[tuple[object, DataType], StageRows] = {}
        self.made: list[Stage] = []
        """In the order in which they run."""

    def rows(self, prepared: Prepared) -> StageRows:
        """Make the rows of a query those of a stage."""
        if isinstance(prepared, Central) and (known := all_rows(prepared.body)):
            return known
        expected = rows_of(prepared.body)
        return StageRows(self.add(prepared), prepared.body.columns, expected)

    def add(self, prepared: Prepared) -> int:
        """Add the stage that answers a query; returns its number."""
        match prepared:
            case Local():
                self.made.append(self._fragment(prepared))
            case Central(body):
                self.made.append(_residual(body))
        return len(self.made) - 1

    def end(self, prepared: Prepared) -> None:
        """Add the stage that answers the query, unless it is the last one already."""
        rows = all_rows(prepared.body) if isinstance(prepared, Central) else None
        last = len(self.made) - 1
        if rows is None or rows.stage != last or isinstance(self.made[last], Fragment):
            self.add(prepared)

    def read(self, stage: Residual | SystemRows) -> StageRows:
        """Add a stage that reads no rows of others."""
        self.made.append(stage)
        return StageRows(len(self.made) - 1, stage.columns, stage.expected)

    def spooled(
        self, local: Local, keys: tuple[Column, ...], buckets: Buckets
    ) -> StageRows:
        """Keep the rows of a query on the workers, in buckets by hash."""
        names = tuple(c.name for c in keys)
        found = unsteady(local.body, self._unsteady.__getitem__)
        spool = Spool(names, buckets.count, found.columns.isdisjoint(names))
        # Rows that are not spooled are made once.
        self._unsteady[len(self.made)] = found
        self.made.append(self._fragment(local, spool))
        number, expected = len(self.made) - 1, rows_of(local.body)
        return StageRows(number, local.body.columns, expected, buckets, names)

    def listed(self, node: InValues) -> StageRows:
        """Make a long list the rows of a stage; one that is read twice is made once."""
        key = (node.values, node.kind)
        if key not in self._listed:
            self._listed[key] = self.read(_listed(node))
        return self._listed[key]

    def buckets(self, size: float) -> Buckets:
        """Return the buckets of a new exchange of so many bytes."""
        least, most = _BUCKETS
        count = int(min(most, max(least, size / self._sizes.bucket)))
        return Buckets(count, exchange=len(self.made))

    def _fragment(self, local: Local, spool: Spool | None = None) -> Fragment:
        body, restrictors = restrict(local.body, self._snapshot)
        writer = Statement()
        sql = writer.body(body)
        domain = local.domain
        family = domain if isinstance(domain, Family) else None
        edges = (e for s in selects(body) for e in s.neighbours)
        why = [f"relations  {_described(writer.scanned, edges)}"]
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
            joined=joined_rows(body),
            why=tuple(why) if writer.scanned else (),
        )


def _residual(body: Body) -> Residual:
    writer = Statement(vectors=False)
    sql = writer.body(body)
    inputs = tuple(writer.stages)
    parameters = tuple(writer.parameters)
    return Residual(
        sql,
        parameters,
        body.columns,
        inputs,
        expected=rows_of(body),
        joined=joined_rows(body),
    )


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
        if not relation.join.is_inner:
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


def _described(relations: Sequence[Relation], edges: Iterable[Neighbours]) -> str:
    """Say how stored relations are placed, for EXPLAIN."""
    near = {e.right: e for e in edges}
    alias = {r.number: r.alias for r in relations}
    told = []
    for relation in relations:
        assert relation.stored is not None, "only tables are scanned"
        name = f"{relation.stored.release}.{relation.stored.table.name}"
        what = f"{relation.alias} = {relation.extent} {name}"
        if (edge := near.get(relation.number)) is not None:
            within = f"{edge.radius * 3600:.6g} arcsec"
            what += f" within {within} of {alias[edge.left]}"
        told.append(what)
    return "; ".join(told)


def _listed(node: InValues) -> Residual:
    column = Column("value", node.kind)
    why = (f"list       {len(node.values):,} values",)
    sql, expected = listed("$1", node.kind), float(len(node.values))
    return Residual(sql, (node.values,), (column,), expected=expected, why=why)
