"""The planner: the passes in order, and the SQL that they lead to.

Read `PASSES` aloud and you know what happens between the syntax tree and the `Plan`.
"""

from collections.abc import Callable
from typing import Final

from qserv.catalog.snapshot import Snapshot
from qserv.catalog.tables import DataType
from qserv.dialects import adql
from qserv.errors import InvalidRequest, LimitExceeded
from qserv.plan.aggregate import Split, split
from qserv.plan.bind import bind
from qserv.plan.expressions import Aggregate, Expression, Literal
from qserv.plan.fragment import fragment
from qserv.plan.neighbours import neighbours
from qserv.plan.plan import Fragment, Plan, Residual, ScanClass
from qserv.plan.query import Query
from qserv.plan.relations import relations
from qserv.plan.render import Writer, typed
from qserv.plan.residual import residual
from qserv.plan.restrict import restrict

PASSES: Final[tuple[Callable[[Query], Query], ...]] = (relations, restrict)

_LANGUAGES: Final = {"ADQL": adql.parse, "ADQL-2.0": adql.parse, "ADQL-2.1": adql.parse}


def plan(
    text: str,
    snapshot: Snapshot,
    *,
    language: str = "ADQL-2.1",
    default_release: str | None = None,
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
        for each in PASSES:
            query = each(query)
        return _counted(query) or _planned(query)
    except RecursionError as error:
        raise LimitExceeded("the query is nested too deeply: take it apart") from error


def _counted(query: Query) -> Plan | None:
    """Answer a bare ``SELECT COUNT(*)`` from the manifests: they count live rows."""
    clauses = (query.where, query.having, query.groups, query.orderings, query.offset)
    if len(query.relations) > 1 or any(clauses) or query.limit == 0:
        return None
    if any(not _is_count(o.expression) for o in query.outputs):
        return None
    rows = Literal(query.relations[0].version.rows, DataType.BIGINT)
    columns = tuple(o.column for o in query.outputs)
    sql = f"SELECT {typed(Writer(), columns, [rows] * len(columns))}"
    note = "count      from the manifests: no chunk is read"
    return _assembled(query, None, Residual(sql, (), columns), (*query.notes, note))


def _is_count(node: Expression) -> bool:
    return isinstance(node, Aggregate) and node.argument is None and not node.distinct


def _planned(query: Query) -> Plan:
    parts = split(query)
    sent = fragment(query, parts, neighbours(query))
    merged = residual(query, parts) if parts.merged else None
    return _assembled(query, sent, merged, (*query.notes, _merge_note(parts)))


def _release(query: Query) -> str:
    """Return the release whose chunks are read; any other is replicated."""
    partitioned = (r for r in query.relations if r.version.table.partitioned)
    return next(partitioned, query.relations[0]).version.release


def _merge_note(parts: Split) -> str:
    if not parts.merged:
        return "merge      concatenate: batches stream through the czar"
    if parts.grouping is None:
        return "merge      sort what the chunks kept"
    return f"merge      partial results regrouped, {len(parts.columns)} columns wide"


def _assembled(
    query: Query,
    sent: Fragment | None,
    merged: Residual | None,
    notes: tuple[str, ...],
) -> Plan:
    return Plan(
        query=query.text,
        snapshot=query.snapshot.id,
        release=_release(query),
        stages=tuple(s for s in (sent, merged) if s is not None),
        columns=tuple(o.column for o in query.outputs),
        scan_class=ScanClass.INTERACTIVE if query.restrictors else ScanClass.SCAN,
        notes=notes,
    )
