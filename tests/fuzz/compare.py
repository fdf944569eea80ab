"""One query, planned and run over chunks, against the oracle's answer."""

import copy
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

import duckdb
import pyarrow as pa
from fuzz.catalogs import Catalog
from fuzz.nodes import ADQL, DUCK, WORLD, Body, Node, Select, View, tags, walk
from support.chunks import Chunks, without_pruning
from support.stages import fetched, strategies

from qserv.errors import UserError
from qserv.plan.explain import explain
from qserv.plan.limits import DEFAULT_SIZES, Sizes
from qserv.plan.plan import EitherRestrictor, Fragment, Plan
from qserv.plan.planner import plan

SAME, REFUSED, DIFFERENT = "same", "refused", "different"


_BATCHES = {1: "all", 2: "some"}


class Difference(AssertionError):
    """The answer over chunks is not the oracle's."""


@dataclass
class Way:
    """How a plan is run: in which world, in how many batches, pruned or not."""

    leaves: int
    parts: int
    """Batches of a fragment at most."""
    pruned: bool = True
    small: bool = False
    """Whether little may travel: large sides are joined by hash, groups in buckets."""


@dataclass
class Outcome:
    """What came of a query."""

    kind: str
    message: str = ""
    hits: set[str] = field(default_factory=set)
    rows: int = 0
    plan: Plan | None = None
    expected: list = field(default_factory=list)
    found: list = field(default_factory=list)


def planned(text: str, world: Chunks, sizes: Sizes) -> Plan:
    """Plan a text against a world."""
    return plan(text, world.snapshot, sizes=sizes)


def _planned(body: Body, catalog: Catalog, way: Way) -> Plan:
    sizes = _SMALL if way.small else DEFAULT_SIZES
    return planned(body.text(ADQL), catalog.worlds[way.leaves], sizes)


_MOST_ROWS = 30_000
_SMALL = Sizes(broadcast=800.0, merge=1000.0, bucket=700.0)


def check(body: Body, catalog: Catalog, way: Way) -> Outcome:
    """Run a query in some way, and compare with the oracle."""
    outcome = Outcome(SAME)
    try:
        outcome.plan = _planned(body, catalog, way)
    except UserError as error:
        return Outcome(REFUSED, f"{type(error).__name__} {error}")
    except Exception as error:  # noqa: BLE001 - any bug is what we look for
        return Outcome(DIFFERENT, f"planning fails: {_told(error)}")
    try:
        outcome.expected = ask(catalog, body, way.leaves)
        whole = _uncut(catalog, body, way.leaves)
    except duckdb.Error as error:
        return Outcome(REFUSED, f"oracle: {_told(error)[:60]}")
    if len(outcome.expected) > _MOST_ROWS:
        return Outcome(REFUSED, "oracle: more rows than are worth comparing")
    try:
        _try(body, catalog, way, outcome, whole)
    except Difference as difference:
        outcome.kind, outcome.message = DIFFERENT, f"{difference} ({way})"
        return outcome
    outcome.rows = len(outcome.expected)
    outcome.hits |= tags(body) | {f"rows {_size(outcome.rows)}"}
    return outcome


def _try(body: Body, catalog: Catalog, way: Way, outcome: Outcome, whole) -> None:
    made = outcome.plan if way.pruned else without_pruning(outcome.plan)
    run = catalog.worlds[way.leaves].start(made, parts=way.parts, tight=True)
    outcome.found = []
    try:
        outcome.found = rows_of(run.answer())
    except Exception as error:
        raise Difference(f"running fails: {_told(error)}") from error
    agree(body, outcome.found, outcome.expected, whole)
    outcome.hits |= _hits(made, run, way)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:600]}"


def _size(rows: int) -> str:
    return "0" if rows == 0 else "1" if rows == 1 else "many"


def _hits(made: Plan, run, way: Way) -> set[str]:
    found = {f"strategy {name}" for name in strategies(made)}
    fragments = [s for s in made.stages if isinstance(s, Fragment)]
    if not fragments:
        found = {"strategy manifest"}
    if any(s.once for s in fragments):
        found.add("strategy once")
    if any(s.limit is not None for s in fragments):
        found.add("strategy early stop")
    found |= {_limit(r) for s in fragments for r in _limits(s.restrictors)}
    found |= {f"extent {x.extent}" for s in fragments for x in s.sources}
    found.add(f"leaves {way.leaves}")
    found.add(f"batches of {_BATCHES.get(way.parts, 'one')}")
    if way.small:
        found.add("small sizes")
    if any(s.spool for s in fragments):
        found.add("strategy spool")
    if not way.pruned:
        found.add("pruning off")
    if 0 in run.routed.values():
        found.add("route to no chunk")
    return found


def _limits(restrictors) -> Iterator:
    """Yield restrictors, and those that are alternatives."""
    for restrictor in restrictors:
        yield restrictor
        if isinstance(restrictor, EitherRestrictor):
            for alternative in restrictor.alternatives:
                yield from _limits(alternative)


def _limit(restrictor) -> str:
    dilated = " dilated" * bool(getattr(restrictor, "reach", 0.0))
    return f"restrictor {type(restrictor).__name__}{dilated}"


def ask(catalog: Catalog, body: Body, leaves: int) -> list[tuple]:
    """Return the oracle's rows; `leaves` says which world's chunks are meant."""
    sql = body.text(DUCK).replace(WORLD, str(leaves))
    return rows_of(fetched(catalog.oracle, sql))


def _uncut(catalog: Catalog, body: Body, leaves: int) -> list[tuple] | None:
    """Return all rows that an undecided TOP may choose from."""
    if body.decided or body.limit is None:
        return None
    more = copy.copy(body)
    more.limit, more.offset = None, 0
    return ask(catalog, more, leaves)


def rows_of(table: pa.Table) -> list[tuple]:
    """Return rows as Python values, whole numbers as int."""
    columns = [[_plain(v) for v in c.to_pylist()] for c in table.columns]
    return list(zip(*columns, strict=True))


def _plain(value):
    return int(value) if isinstance(value, Decimal) else value


def agree(body: Body, found: list, expected: list, whole: list | None) -> None:
    """Raise `Difference` unless both are answers to the query."""
    if len(found) != len(expected):
        raise Difference(f"{len(found)} rows instead of {len(expected)}")
    tolerances = [node.tolerance for node, _ in body.outputs]
    _agree_order(body, found, expected)
    if whole is not None:
        rest = Counter(found) - Counter(whole)
        if rest and all(t is None for t in tolerances):
            raise Difference(f"rows that do not qualify: {list(rest)[:3]}")
        return
    if all(t is None for t in tolerances):
        more, less = (
            Counter(found) - Counter(expected),
            Counter(expected) - Counter(found),
        )
        if more or less:
            raise Difference(f"too many: {list(more)[:3]}, missing: {list(less)[:3]}")
        return
    _agree_nearly(found, expected, tolerances)


def _agree_order(body: Body, found: list, expected: list) -> None:
    """Compare the sequences of what is ordered by, as far as it is selected."""
    aliases = [alias for _, alias in body.outputs]
    for node, _ in body.orders:
        place = aliases.index(node.adql) if node.adql in aliases else None
        if node.adql.isdigit():
            place = int(node.adql) - 1
        if place is None or body.outputs[place][0].tolerance is not None:
            return
        ours, theirs = ([row[place] for row in rows] for rows in (found, expected))
        if ours != theirs:
            raise Difference(f"column {place + 1} is in another order")


def _agree_nearly(found: list, expected: list, tolerances: list) -> None:
    exact = [i for i, t in enumerate(tolerances) if t is None]
    near = [i for i, t in enumerate(tolerances) if t is not None]

    def key(row):
        return (
            [(row[i] is None, repr(row[i])) for i in exact],
            [(row[i] is None, row[i] or 0.0) for i in near],
        )

    scales = {
        i: max((abs(r[i]) for r in expected if r[i] is not None), default=0.0)
        for i in near
    }
    for ours, theirs in zip(
        sorted(found, key=key), sorted(expected, key=key), strict=True
    ):
        for i, tolerance in enumerate(tolerances):
            a, b = ours[i], theirs[i]
            close = (
                None not in {a, b}
                and i in scales
                and math.isclose(
                    a, b, rel_tol=0, abs_tol=tolerance * max(1.0, scales[i])
                )
            )
            if not (close or a == b):
                raise Difference(f"{ours} is not {theirs}")


def _run(body: Body, catalog: Catalog, way: Way) -> list[tuple]:
    made = _planned(body, catalog, way)
    return rows_of(
        catalog.worlds[way.leaves].start(made, parts=way.parts, tight=True).answer()
    )


def partitioned(
    body: Select, by: Node, catalog: Catalog, way: Way, whole: list[tuple]
) -> Outcome:
    """Compare all rows with those of ``p``, ``NOT p`` and ``p IS NULL`` together."""
    pieces = []
    try:
        for template in ("{0}", "(NOT {0})", "({0} IS NULL)"):
            limit = Node(template, template, [by], "bool")
            part = replace(body, where=[*body.where, limit])
            pieces += _run(part, catalog, way)
    except UserError as error:
        return Outcome(REFUSED, f"{type(error).__name__} {error}")
    if Counter(whole) != Counter(pieces):
        text = f"p, NOT p and p IS NULL are not all rows, p = {by.text(ADQL)}"
        return Outcome(DIFFERENT, text, expected=whole, found=pieces)
    return Outcome(SAME, hits={"logical partitioning"})


def told(body: Body, outcome: Outcome) -> str:
    """Write a difference down: the case, what was expected and what came, the plan."""
    lines = ["query", body.text(ADQL), "", f"-- {outcome.message}"]
    lines += [thing.said for thing in walk(body) if isinstance(thing, View)]
    lines += [f"-- oracle: {body.text(DUCK)}"]
    lines += ["-- expected"] + [
        f"--   {row}" for row in sorted(outcome.expected, key=repr)[:8]
    ]
    lines += ["-- found"] + [
        f"--   {row}" for row in sorted(outcome.found, key=repr)[:8]
    ]
    if outcome.plan is not None:
        lines += ["-- plan"] + [
            f"-- {line}" for line in explain(outcome.plan).splitlines()
        ]
    return "\n".join(lines)
