"""Bugs that a planner may have, each planted so that the fuzzer must find it.

A bug changes the finished plan, or takes a mechanism out of the planner; what it takes
out is what keeps the answer right.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from fuzz import compare
from fuzz.schemas import TABLES
from support import chunks
from support.worlds import believing

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.tables import TableKind
from qserv.plan import (
    aggregates,
    finish,
    origins,
    planner,
    prepare,
    restrict,
    seek,
    simplify,
)
from qserv.plan.depth import renumbered
from qserv.plan.expressions import Call, InList, Near
from qserv.plan.plan import (
    AreaRestrictor,
    EitherRestrictor,
    Extent,
    Fragment,
    Plan,
    Residual,
)
from qserv.plan.prepared import Central
from qserv.plan.query import all_of

Plant = Callable[[object], None]
BUGS: dict[str, Plant] = {}
_PAIRS = [
    table.name
    for tables in TABLES.values()
    for table in tables
    if table.kind is TableKind.REF_MATCH
]


def bug(plant: Plant) -> Plant:
    """Add a bug, by the name of the function that plants it."""
    BUGS[plant.__name__] = plant
    return plant


def _plans(monkeypatch, change: Callable[[Plan], Plan]) -> None:
    """Let every plan be changed before it is run."""

    def planned(text, world, sizes):
        return change(planner.plan(text, world.snapshot, sizes=sizes))

    monkeypatch.setattr(compare, "planned", planned)


def _fragments(plan: Plan, change: Callable[[Fragment], Fragment]) -> Plan:
    stages = (change(s) if isinstance(s, Fragment) else s for s in plan.stages)
    return replace(plan, stages=tuple(stages))


@bug
def no_overlap(monkeypatch):
    def own(source):
        near = source.extent is Extent.OWN_AND_OVERLAP
        return replace(source, extent=Extent.OWN) if near else source

    def change(sent):
        return replace(sent, sources=tuple(map(own, sent.sources)))

    _plans(monkeypatch, lambda plan: _fragments(plan, change))


@bug
def copies_of_pairs_dropped(monkeypatch):
    """Read a ref-match table's own rows only: pairs lie with their first director."""

    def own(source):
        return replace(source, extent=Extent.OWN) if source.table in _PAIRS else source

    def change(sent):
        return replace(sent, sources=tuple(map(own, sent.sources)))

    _plans(monkeypatch, lambda plan: _fragments(plan, change))


@bug
def keys_of_neighbours_not_dilated(monkeypatch):
    """Look for what stands beside a key in the chunk of that key alone."""

    def here(limit):
        match limit:
            case EitherRestrictor(alternatives=alternatives):
                return EitherRestrictor(
                    tuple(tuple(map(here, a)) for a in alternatives)
                )
            case AreaRestrictor():
                return limit
        return replace(limit, reach=0.0)

    def change(sent):
        return replace(sent, restrictors=tuple(map(here, sent.restrictors)))

    _plans(monkeypatch, lambda plan: _fragments(plan, change))


@bug
def host_chunk_dropped_from_the_join(monkeypatch):
    host = re.compile(r'(?: AND )?\w+\."_chunk" = \w+\."_chunk"')
    _plans(
        monkeypatch,
        lambda plan: _fragments(plan, lambda f: replace(f, sql=host.sub("", f.sql))),
    )


@bug
def restrictor_not_dilated(monkeypatch):
    monkeypatch.setattr(restrict, "dilate", lambda area, radius: area)


@bug
def top_n_without_final_merge(monkeypatch):
    def change(plan: Plan) -> Plan:
        *first, last = plan.stages
        if first and isinstance(last, Residual) and "LIMIT" in last.sql:
            unordered = re.sub(r"\nORDER BY [^\n]*(?=\nLIMIT)", "", last.sql)
            last = replace(last, sql=unordered)
        return replace(plan, stages=(*first, last))

    _plans(monkeypatch, change)


@bug
def not_in_as_restrictor(monkeypatch):
    wanted = seek._wanted

    def also_not(term, relations):
        match term:
            case Call("NOT", (InList() as listed,)):
                return wanted(listed, relations)
        return wanted(term, relations)

    monkeypatch.setattr(seek, "_wanted", also_not)


@bug
def null_group_finished_locally(monkeypatch):
    """Rows without key have no home: their group is in many chunks."""

    def in_chunks(keys):
        return lambda values: any(v in keys for v in values)

    for module in (finish, prepare):
        monkeypatch.setattr(module, "in_chunks", in_chunks, raising=False)


@bug
def replicated_table_preserved(monkeypatch):
    """Null-extend a copy in each chunk: anchor the chunks at the other side."""

    def anchors(body, sky):
        return [r for r in body.relations if r.number in sky.families]

    monkeypatch.setattr(prepare, "anchors", anchors)


@bug
def full_join_from_overlap(monkeypatch):
    """Null-extend overlap rows in each chunk, though their partners are elsewhere."""
    shares_key = simplify.shares_key

    def also_near(left, right, conditions):
        near = any(isinstance(c, Near) for c in conditions)
        both = left.stored is not None and right.stored is not None
        return (near and both) or shares_key(left, right, conditions)

    monkeypatch.setattr(simplify, "shares_key", also_near)


@bug
def with_run_twice(monkeypatch):
    """Compute a query of WITH wherever it is read: TOP may take other rows."""

    def shared(self, named):
        prepared = self._preparing.prepare(renumbered(named.body, self._numbers))
        return Central(all_of(self._stages.rows(prepared), next(self._numbers)))

    monkeypatch.setattr(origins.Finder, "_shared", shared)


@bug
def halo_too_narrow(monkeypatch):
    def beside(sent):
        return replace(sent, sources=tuple(replace(s, reach=0.0) for s in sent.sources))

    _plans(monkeypatch, lambda plan: _fragments(plan, beside))


@bug
def overlap_of_the_family(monkeypatch):
    """Believe that the overlap of each table reaches as far as that of new ones."""

    def planned(text, world, sizes):
        widest = max(f.overlap for f in world.snapshot.families.values())
        return planner.plan(text, believing(world.snapshot, widest), sizes=sizes)

    monkeypatch.setattr(compare, "planned", planned)


@bug
def nan_kept(monkeypatch):
    """NaN sorts above all numbers: it passes ``flux > 4``."""
    monkeypatch.setattr(chunks, "_nulled", lambda rows: rows)


@bug
def m2_replaced_by_squares(monkeypatch):
    squares = "(sum({0} * {0}) - count({0}) * avg({0}) * avg({0}))"
    monkeypatch.setitem(aggregates.SQL, "M2", squares)


@bug
def offset_ignored(monkeypatch):
    """Plan as if δ were 0: rows lie in their home chunks."""

    def planned(text, world, sizes):
        snapshot: Snapshot = world.snapshot
        releases = {
            name: replace(
                release,
                tables={n: replace(t, offset=0.0) for n, t in release.tables.items()},
            )
            for name, release in snapshot.releases.items()
        }
        return planner.plan(text, replace(snapshot, releases=releases), sizes=sizes)

    monkeypatch.setattr(compare, "planned", planned)
