"""Print a plan: what EXPLAIN shows and what the golden tests hold."""

from collections.abc import Mapping, Sequence
from textwrap import indent

from qserv.plan.plan import MARK, Fragment, Plan, Residual, Route


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
    parts = [f"snapshot   {plan.snapshot}", *plan.notes]
    for number, stage in enumerate(plan.stages):
        route = None if routes is None else routes.get(number)
        last = number == len(plan.stages) - 1
        parts += [f"stage {number}{' (the answer)' if last else ''}", *stage.why]
        match stage:
            case Fragment():
                parts += _fragment(plan, stage, route)
            case Residual():
                parts += ["residual", _block(stage.sql), *_parameters(stage.parameters)]
    columns = ", ".join(f"{c.name} {c.datatype}" for c in plan.columns)
    return "\n".join([*parts, f"result     {columns}"])


def _fragment(plan: Plan, sent: Fragment, route: Route | None) -> list[str]:
    parts = [] if route is None else [f"route      {_routed(sent, route)}"]
    parts.append(f"fragment   {plan.scan_class}{_until(sent)}")
    return [*parts, _block(_readable(sent)), *_parameters(sent.parameters)]


def _routed(sent: Fragment, route: Route) -> str:
    if sent.once:
        return "one worker"
    work = f"{route.rows:,} rows and {route.size:,} bytes at most"
    return f"{route.chunks.size} of {route.of} chunks, {work}"


def _until(sent: Fragment) -> str:
    return "" if sent.limit is None else f", until {sent.limit} rows are there"


def _readable(sent: Fragment) -> str:
    text = sent.sql
    for number, source in enumerate(sent.sources):
        name = f"{source.release}.{source.table}[{source.extent}]"
        text = text.replace(f"{MARK}{number}{MARK}", name)
    return text


def _block(sql: str) -> str:
    return indent(sql, " " * 11)


def _parameters(values: Sequence[str]) -> list[str]:
    return [f"           ${i} = {value!r}" for i, value in enumerate(values, 1)]
