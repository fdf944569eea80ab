"""The planner: from a text to the stages that answer it.

Read `plan` aloud and you know what happens: the text is parsed, its names are bound, it
is brought to fewer shapes, and taken apart into stages.
"""

from itertools import count
from typing import Final

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.system import RELEASE
from qserv.dialects import adql
from qserv.errors import InvalidRequest, LimitExceeded
from qserv.plan.bind import bind
from qserv.plan.depth import references
from qserv.plan.limits import DEFAULT_SIZES, Sizes
from qserv.plan.plan import Fragment, Plan, ScanClass, Stage
from qserv.plan.prepare import Preparer
from qserv.plan.prune import pruned
from qserv.plan.query import Body, Query, selects
from qserv.plan.simplify import simplify
from qserv.plan.system import system_table

_LANGUAGES: Final = {"ADQL": adql.parse, "ADQL-2.0": adql.parse, "ADQL-2.1": adql.parse}


def plan(
    text: str,
    snapshot: Snapshot,
    *,
    language: str = "ADQL-2.1",
    default_release: str | None = None,
    sizes: Sizes = DEFAULT_SIZES,
) -> Plan:
    """Plan one query.

    Parameters
    ----------
    text
        The query.
    snapshot
        What it is planned against.
    language
        The language of the text.
    default_release
        Where unqualified tables are; None to look in all releases.
    sizes
        From which size on rows stay among the workers.

    Returns
    -------
    Plan
        How it is answered, exactly.

    Raises
    ------
    UserError
        If the query is wrong, or not answered yet; says where, why and what to do.
    """
    if (parse := _LANGUAGES.get(language)) is None:
        raise InvalidRequest(
            f"there is no language {language}; there are: {', '.join(_LANGUAGES)}"
        )
    try:
        query = bind(parse(text), text, snapshot, default_release)
        return _assembled(query, _stages(query, sizes))
    except RecursionError as error:
        raise LimitExceeded("the query is nested too deeply: take it apart") from error


def _stages(query: Query, sizes: Sizes) -> tuple[Stage, ...]:
    numbers = count(_next_number(query.body))
    body = pruned(simplify(query.body, numbers))
    return Preparer(query.snapshot, numbers, sizes).answer(body)


def _next_number(body: Body) -> int:
    used = [r.number for s in selects(body) for r in s.relations]
    return 1 + max([*used, *(ref.relation for ref in references(body))])


def _assembled(query: Query, stages: tuple[Stage, ...]) -> Plan:
    return Plan(
        query=query.text,
        snapshot=query.snapshot.id,
        release=_release(query),
        stages=stages,
        columns=query.body.columns,
        scan_class=_scan_class(stages),
    )


def _release(query: Query) -> str:
    """Return the release whose chunks are read first; else of what is replicated."""
    relations = [r for s in selects(query.body) for r in s.relations]
    stored = [r.stored for r in relations if r.stored is not None]
    partitioned = (v for v in stored if v.table.partitioned)
    first = next(partitioned, next(iter(stored), None))
    if first is not None:
        return first.release
    return RELEASE if any(map(system_table, relations)) else ""


def _scan_class(stages: tuple[Stage, ...]) -> ScanClass:
    """Schedule a query as a scan if any of its stages reads every chunk."""
    fragments = [s for s in stages if isinstance(s, Fragment) and s.family]
    limited = all(s.restrictors for s in fragments)
    return ScanClass.INTERACTIVE if fragments and limited else ScanClass.SCAN
