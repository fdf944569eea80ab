"""Print a plan: what EXPLAIN shows and what the golden tests hold."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Final

from qserv.catalog.tables import HEALPIX, Column
from qserv.plan.cost import Cost, cost
from qserv.plan.estimate import width
from qserv.plan.plan import (
    MARK,
    FoundRestrictor,
    Fragment,
    Plan,
    Residual,
    Route,
    Sharing,
    Stage,
    SystemRows,
    keyed,
)

MARGIN: Final = " " * 11
"""Of what stands below a label."""
_SPANS: Final = re.compile(
    rf'\((t\d+\."{HEALPIX}") >= \d+ AND \1 < \d+\)'
    r"(?: OR \(\1 >= \d+ AND \1 < \d+\))+"
)
"""Ranges of homes, which are many and say nothing to a reader."""


@dataclass(slots=True)
class Happened:
    """What a stage has done, for EXPLAIN ANALYZE.

    Parameters
    ----------
    routed, chunks
        Chunks, or buckets, that it runs on; how many were done, again ones too.
    tasks
        Sent to workers, again ones too.
    rows, size
        Of its result, in bytes.
    read, brought
        Bytes of files that workers read; bytes that were brought to the chunks: with
        the tasks, from around them, or by hash.
    seconds
        From its start to its end.
    """

    routed: int = 0
    chunks: int = 0
    tasks: int = 0
    rows: int = 0
    size: int = 0
    read: int = 0
    brought: int = 0
    seconds: float = 0.0


def explain(
    plan: Plan,
    routes: Mapping[int, Route] | None = None,
    happened: Mapping[int, Happened] | None = None,
    *,
    workers: int = 1,
    cores: int = 1,
) -> str:
    """Return a plan as text.

    Parameters
    ----------
    plan
        The plan.
    routes
        Stage number -> where it runs, for the stages whose keys are known before the
        plan runs.
    happened
        Stage number -> what it did, once the plan has run.
    workers, cores
        How many workers answer it, and how many threads they have together.
    """
    lines = [f"snapshot   {plan.snapshot}", *plan.notes]
    for number, stage in enumerate(plan.stages):
        route = None if routes is None else routes.get(number)
        lines += _stage(plan, number, stage, route)
        if happened is not None:
            lines += _done(plan, number, stage, happened.get(number, Happened()))
        if not isinstance(stage, SystemRows):
            lines.append(indent(_readable(stage), MARGIN))
            lines += _parameters(stage.parameters)
    spent = cost(plan, routes or {}, workers=workers, cores=cores)
    lines.append(f"cost       {_spent(spent)}")
    if happened is not None:
        lines.append(f"total      {_total(len(plan.stages), happened)}")
    columns = ", ".join(f"{c.name} {c.datatype}" for c in plan.columns)
    return "\n".join([*lines, f"result     {columns}"])


def _stage(plan: Plan, number: int, stage: Stage, route: Route | None) -> Iterator[str]:
    last = number == len(plan.stages) - 1
    yield f"stage {number}    {_kind(plan, stage)} -> {_goal(stage, last=last)}"
    if isinstance(stage, SystemRows):
        names = ", ".join(c.name for c in stage.columns)
        yield f"reads      {names} of {stage.full}"
    else:
        yield from stage.why
    if isinstance(stage, Fragment):
        yield from _reads(stage)
        if not stage.buckets and (where := _routed(stage, route)):
            yield f"route      {where}"
        if stage.limit is not None:
            yield f"until      {_rows(stage.limit)} are there"
    yield f"expect     {_expected(stage.expected, stage.columns)}"


def _spent(spent: Cost) -> str:
    seconds = f"{spent.seconds:.0f}" if spent.seconds >= 10 else f"{spent.seconds:.1g}"
    return (
        f"about {spent.bytes_read:,.0f} bytes read, {spent.bytes_moved:,.0f} moved, "
        f"{spent.rows:,.0f} rows joined, {seconds} s"
    )


def _done(plan: Plan, number: int, stage: Stage, did: Happened) -> Iterator[str]:
    last = number == len(plan.stages) - 1
    gave = f"{_rows(did.rows)}, {did.size:,} bytes{_where(stage, last=last)}"
    yield f"gave       {gave}"
    yield f"took       {did.seconds:.3f} s{_worked(stage, did)}"


def _total(stages: int, happened: Mapping[int, Happened]) -> str:
    all_of = [happened.get(number, Happened()) for number in range(stages)]
    seconds = sum(did.seconds for did in all_of)
    tasks = sum(did.tasks for did in all_of)
    read = sum(did.read for did in all_of)
    brought = sum(did.brought for did in all_of)
    return (
        f"{_rows(all_of[-1].rows)} in {seconds:.3f} s, "
        f"{tasks:,} {'task' if tasks == 1 else 'tasks'}, {read:,} bytes read, "
        f"{brought:,} brought"
    )


def _where(stage: Stage, *, last: bool) -> str:
    if not isinstance(stage, Fragment) or last:
        return ""
    return " to the czar" if stage.spool is None else " that workers keep"


def _worked(stage: Stage, did: Happened) -> str:
    if not isinstance(stage, Fragment):
        return ""
    what = "buckets" if stage.buckets else "chunks"
    done = "" if stage.once else f"{did.chunks:,} of {did.routed:,} {what} in "
    tasks = f"{did.tasks:,} {'task' if did.tasks == 1 else 'tasks'}"
    brought = f", {did.brought:,} brought" * bool(did.brought)
    return f", {done}{tasks}, {did.read:,} bytes of files read{brought}"


def _kind(plan: Plan, stage: Stage) -> str:
    if isinstance(stage, Residual):
        return "residual in the czar"
    if isinstance(stage, SystemRows):
        return "the czar's metadata"
    if stage.buckets:
        return f"fragment on {stage.buckets} buckets, {plan.scan_class}"
    where = "one worker" if stage.once else f"the chunks of {stage.family}"
    return f"fragment on {where}, {plan.scan_class}"


def _goal(stage: Stage, *, last: bool) -> str:
    if last:
        return "the answer"
    if isinstance(stage, Fragment) and stage.spool is not None:
        keys = ", ".join(stage.spool.keys)
        return f"{stage.spool.buckets} buckets by hash of {keys}"
    return "the czar"


def _reads(sent: Fragment) -> Iterator[str]:
    for sharing, what in ((Sharing.BROADCAST, "broadcast"), (Sharing.BUCKET, "hash")):
        stages = [str(i.stage) for i in sent.inputs if i.sharing is sharing]
        if stages:
            yield f"exchange   {what} of stage {' and '.join(stages)}"
    for source in (s for s in sent.sources if s.reach):
        yield (
            f"exchange   halo of {source.release}.{source.table}, "
            f"{source.reach * 3600:.6g} arcsec wide"
        )


def _routed(sent: Fragment, route: Route | None) -> str:
    if route is None:
        told = (r for r in keyed(sent.restrictors) if isinstance(r, FoundRestrictor))
        stages = sorted({str(restrictor.stage) for restrictor in told})
        return f"the chunks of what stage {' and '.join(stages)} finds" * bool(stages)
    if sent.once:
        return "one worker"
    work = f"{route.rows:,} rows and {route.size:,} bytes at most"
    return f"{route.chunks.size} of {route.of} chunks, {work}"


def _expected(rows: float, columns: Sequence[Column]) -> str:
    size = rows * width(tuple(columns))
    return f"about {_rows(round(rows))}, {size:,.0f} bytes"


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"


def _readable(stage: Fragment | Residual) -> str:
    text = stage.sql
    if isinstance(stage, Fragment):
        for number, source in enumerate(stage.sources):
            name = f"{source.release}.{source.table}[{source.extent}]"
            text = text.replace(f"{MARK}{number}{MARK}", name)
    return _SPANS.sub(_counted, text)


def _counted(spans: re.Match[str]) -> str:
    return f"{spans[1]} IN {spans[0].count(' OR ') + 1} ranges"


def _parameters(values: Sequence[object]) -> Iterator[str]:
    for place, value in enumerate(values, 1):
        shown = f"{len(value):,} values" if isinstance(value, tuple) else repr(value)
        yield f"{MARGIN}${place} = {shown}"
