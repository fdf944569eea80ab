"""Twelve bugs that a planner may have, each planted so that the fuzzer must find it.

A bug changes the finished plan, or takes a mechanism out of the planner; what it takes
out is what keeps the answer right.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from fuzz import compare
from support import chunks

from qserv.catalog.snapshot import Snapshot
from qserv.plan import planner, render, restrict
from qserv.plan.expressions import Call, InList
from qserv.plan.plan import Extent, Fragment, Plan, Residual

Plant = Callable[[object], None]
BUGS: dict[str, Plant] = {}


def bug(plant: Plant) -> Plant:
    """Add a bug, by the name of the function that plants it."""
    BUGS[plant.__name__] = plant
    return plant


def _plans(monkeypatch, change: Callable[[Plan], Plan]) -> None:
    """Let every plan be changed before it is run."""

    def planned(text, world):
        return change(planner.plan(text, world.snapshot))

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
    keys = restrict._keys

    def also_not(query, term):
        match term:
            case Call("NOT", (InList() as listed,)):
                return keys(query, listed)
        return keys(query, term)

    monkeypatch.setattr(restrict, "_keys", also_not)


@bug
def nan_kept(monkeypatch):
    """NaN sorts above all numbers: it passes ``flux > 4``."""
    monkeypatch.setattr(chunks, "_nulled", lambda rows: rows)


@bug
def m2_replaced_by_squares(monkeypatch):
    squares = "(sum({0} * {0}) - count({0}) * avg({0}) * avg({0}))"
    monkeypatch.setitem(render._AGGREGATES, "M2", squares)


@bug
def offset_ignored(monkeypatch):
    """Plan as if δ were 0: rows lie in their home chunks."""

    def planned(text, world):
        snapshot: Snapshot = world.snapshot
        releases = {
            name: replace(
                release,
                tables={n: replace(t, offset=0.0) for n, t in release.tables.items()},
            )
            for name, release in snapshot.releases.items()
        }
        return planner.plan(text, replace(snapshot, releases=releases))

    monkeypatch.setattr(compare, "planned", planned)
