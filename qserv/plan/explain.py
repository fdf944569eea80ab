"""Print a plan: what EXPLAIN shows and what the golden tests hold."""

from collections.abc import Sequence
from textwrap import indent

from qserv.plan.plan import MARK, Fragment, Plan, Route


def explain(plan: Plan, route: Route | None = None) -> str:
    """Return a plan as text.

    Parameters
    ----------
    plan
        The plan.
    route
        Where it runs; None before its keys were resolved.
    """
    parts = [f"snapshot   {plan.snapshot}", *plan.notes]
    if route is not None:
        parts.append(f"route      {_routed(plan, route)}")
    sent = plan.fragment
    if sent is not None:
        parts.append(f"fragment   {plan.scan_class}{_until(sent)}")
        parts += [_block(_readable(sent)), *_parameters(sent.parameters)]
    if plan.residual is not None:
        parts.append("residual")
        parts += [_block(plan.residual.sql), *_parameters(plan.residual.parameters)]
    columns = ", ".join(f"{c.name} {c.datatype}" for c in plan.columns)
    return "\n".join([*parts, f"result     {columns}"])


def _routed(plan: Plan, route: Route) -> str:
    if plan.fragment is None:
        return "nothing to read"
    if plan.fragment.once:
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
