"""Print a plan: what EXPLAIN shows and what the golden tests hold."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent

from qserv.catalog.tables import Column
from qserv.plan.estimate import width
from qserv.plan.plan import MARK, Fragment, Plan, Residual, Route, Sharing, Stage

_MARGIN = " " * 11


def explain(plan: Plan, routes: Mapping[int, Route] | None = None) -> str:
    """Return a plan as text.

    Parameters
    ----------
    plan
        The plan.
    routes
        Stage number -> where it runs, for the stages whose keys are known before the
        plan runs.
    """
    lines = [f"snapshot   {plan.snapshot}", *plan.notes]
    for number, stage in enumerate(plan.stages):
        route = None if routes is None else routes.get(number)
        lines += _stage(plan, number, stage, route)
    columns = ", ".join(f"{c.name} {c.datatype}" for c in plan.columns)
    return "\n".join([*lines, f"result     {columns}"])


def _stage(plan: Plan, number: int, stage: Stage, route: Route | None) -> Iterator[str]:
    last = number == len(plan.stages) - 1
    yield f"stage {number}    {_kind(plan, stage)} -> {_goal(stage, last=last)}"
    yield from stage.why
    if isinstance(stage, Fragment):
        yield from _reads(stage)
        if route is not None:
            yield f"route      {_routed(stage, route)}"
        if stage.limit is not None:
            yield f"until      {stage.limit} rows are there"
    if not last:
        yield f"expect     {_expected(stage.expected, stage.columns)}"
    yield indent(_readable(stage), _MARGIN)
    yield from _parameters(stage.parameters)


def _kind(plan: Plan, stage: Stage) -> str:
    if isinstance(stage, Residual):
        return "residual in the czar"
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


def _routed(sent: Fragment, route: Route) -> str:
    if sent.once:
        return "one worker"
    work = f"{route.rows:,} rows and {route.size:,} bytes at most"
    return f"{route.chunks.size} of {route.of} chunks, {work}"


def _expected(rows: float, columns: Sequence[Column]) -> str:
    return f"about {rows:,.0f} rows, {rows * width(tuple(columns)):,.0f} bytes"


def _readable(stage: Stage) -> str:
    text = stage.sql
    if isinstance(stage, Fragment):
        for number, source in enumerate(stage.sources):
            name = f"{source.release}.{source.table}[{source.extent}]"
            text = text.replace(f"{MARK}{number}{MARK}", name)
    return text


def _parameters(values: Sequence[object]) -> Iterator[str]:
    for place, value in enumerate(values, 1):
        shown = f"{len(value):,} values" if isinstance(value, tuple) else repr(value)
        yield f"{_MARGIN}${place} = {shown}"
