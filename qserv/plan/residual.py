"""Write the SQL that the czar runs on the rows that came back."""

from qserv.plan.aggregate import Split
from qserv.plan.plan import Residual
from qserv.plan.query import Query
from qserv.plan.render import PARTIALS, Writer, ordered, quoted, typed


def residual(query: Query, parts: Split) -> Residual:
    """Write the residual of a query whose partial results have to be merged.

    Parameters
    ----------
    query
        After all passes.
    parts
        What the czar makes of the partials.
    """
    writer = Writer(query.relations, vectors=False)
    columns = tuple(o.column for o in query.outputs)
    select = "SELECT DISTINCT" if query.distinct and query.grouped else "SELECT"
    sql = f"{select} {typed(writer, columns, parts.outputs)}"
    sql += f"\nFROM {_with_means(parts)}"
    if parts.keys:
        sql += f"\nGROUP BY {', '.join(map(writer.sql, parts.keys))}"
    if parts.having is not None:
        sql += f"\nHAVING {writer.sql(parts.having)}"
    sql += _ordered(query, parts, writer)
    if query.limit is not None:
        sql += f"\nLIMIT {query.limit}"
    if query.offset:
        sql += f"\nOFFSET {query.offset}"
    return Residual(sql, tuple(writer.parameters), columns, inputs=(0,))


def _ordered(query: Query, parts: Split, writer: Writer) -> str:
    if not (query.distinct and query.grouped):
        return ordered(writer, parts.orderings)
    # DISTINCT sees the outputs alone, so they are named by their place.
    places = [
        f"{parts.outputs.index(o.expression) + 1} "
        f"{'DESC' if o.descending else 'ASC'} NULLS LAST"
        for o in parts.orderings
    ]
    return f"\nORDER BY {', '.join(places)}" if places else ""


def _with_means(parts: Split) -> str:
    """Put each group's mean beside its partials, where second moments need it."""
    if not parts.means:
        return PARTIALS
    keys = ", ".join(quoted(k.name) for k in parts.keys or ())
    window = f"OVER (PARTITION BY {keys})" if keys else "OVER ()"
    means = ", ".join(
        f"sum({count.name} * {mean.name}) {window}"
        f" / nullif(sum({count.name}) {window}, 0) AS {name}"
        for name, count, mean in parts.means
    )
    return f"(SELECT *, {means} FROM {PARTIALS}) AS {PARTIALS}"
