"""Write the SQL that workers run: one template for every batch of chunks.

What the user asked stands beside what the layout implies: the ranges of homes that an
area allows, the cells of a near-neighbour join, the chunk that a copy is stored for.
"""

from typing import Final

from qserv.catalog.tables import CHUNK, HEALPIX, UNIT_VECTOR, Column, DataType
from qserv.plan.aggregate import Split
from qserv.plan.neighbours import Cells
from qserv.plan.plan import MARK, Extent, Fragment, ScanSource
from qserv.plan.query import JoinKind, Query, Relation
from qserv.plan.render import Writer, number, ordered, quoted, typed


def fragment(query: Query, parts: Split, cells: tuple[Cells, ...]) -> Fragment:
    """Write the fragment of a query.

    Parameters
    ----------
    query
        After all passes.
    parts
        What workers select.
    cells
        Of its near-neighbour edges.
    """
    writer = Writer(query.relations)
    select = "SELECT DISTINCT" if query.distinct and not query.grouped else "SELECT"
    listed = typed(writer, parts.columns, parts.selected)
    tables = _from(query, writer, cells)
    where = _where(query, writer, cells)
    group = "" if not query.grouped else _group_by(parts)
    sql = f"{select} {listed}\nFROM {tables}{where}{group}{_top(query, writer, parts)}"
    return Fragment(
        sql=sql,
        parameters=tuple(writer.parameters),
        sources=tuple(_source(r, writer) for r in query.relations),
        columns=parts.columns,
        restrictors=query.restrictors,
        family=None if query.family is None else query.family.name,
        tree_version=None if query.family is None else query.family.tree_version,
        needed=tuple((r.number,) for r in query.relations if _needed(r)),
        limit=_enough(query, parts),
    )


def _needed(relation: Relation) -> bool:
    """Whether a chunk without own rows of this relation has no part in the answer."""
    return relation.extent is Extent.OWN and relation.join is not JoinKind.LEFT


def _enough(query: Query, parts: Split) -> int | None:
    """Return how many rows of the fragment make the answer, whichever they are."""
    if query.limit is None or parts.orderings or parts.grouping is not None:
        return None
    return query.limit + query.offset


def _top(query: Query, writer: Writer, parts: Split) -> str:
    """Keep only a batch's first rows; never below DISTINCT or an aggregate."""
    if query.limit is None or parts.grouping is not None:
        return ""
    return f"{ordered(writer, query.orderings)}\nLIMIT {query.limit + query.offset}"


def _group_by(parts: Split) -> str:
    places = ", ".join(str(place + 1) for place in range(parts.grouping or 0))
    return f"\nGROUP BY {places}" if places else ""


def _from(query: Query, writer: Writer, cells: tuple[Cells, ...]) -> str:
    tables = ""
    for relation in query.relations:
        source = _table(relation, writer, cells)
        match relation.join:
            case JoinKind.FIRST:
                tables = source
            case JoinKind.INNER:
                tables += f"\nCROSS JOIN {source}"
            case JoinKind.LEFT:
                tables += (
                    f"\nLEFT JOIN {source}\n  ON {_on(query, relation, writer, cells)}"
                )
    return tables


_TWO: Final = (0, 1)


def _table(relation: Relation, writer: Writer, cells: tuple[Cells, ...]) -> str:
    """Write a scan source; a neighbour with a copy in each cell that it reaches."""
    i = relation.number
    table = f"{MARK}{i}{MARK}"
    found = next((c for c in cells if c.edge.right == i), None)
    if found is None:
        return f"{table} AS t{i}"
    corners = ", ".join(f"({a}, {b}, {c})" for a in _TWO for b in _TWO for c in _TWO)
    names, picks = [], []
    for axis, name, step in zip(UNIT_VECTOR, found.names, "xyz", strict=True):
        writer.stored(i, axis)
        low, high = (
            f"qserv_cell(s.{quoted(axis)} {sign} {number(found.reach)}, "
            f"{number(found.side)})"
            for sign in "-+"
        )
        names.append(f"{low} + i.{step} AS {name}")
        picks.append(f"i.{step} <= {high} - {low}")
    return (
        f"(SELECT s.*, {', '.join(names)}\n   FROM {table} AS s, "
        f"(VALUES {corners}) AS i(x, y, z)\n   WHERE {' AND '.join(picks)}) AS t{i}"
    )


def _where(query: Query, writer: Writer, cells: tuple[Cells, ...]) -> str:
    terms = [writer.sql(query.where)] if query.where is not None else []
    for relation in query.relations:
        if relation.join is not JoinKind.LEFT:
            terms += _locality(query, relation, writer, cells)
    return f"\nWHERE {' AND '.join(terms)}" if terms else ""


def _on(
    query: Query, relation: Relation, writer: Writer, cells: tuple[Cells, ...]
) -> str:
    assert relation.condition is not None
    terms = [writer.sql(relation.condition)]
    return " AND ".join(terms + _locality(query, relation, writer, cells))


def _locality(
    query: Query, relation: Relation, writer: Writer, cells: tuple[Cells, ...]
) -> list[str]:
    """Write what only the layout implies: ranges of homes, cells, the host chunk."""
    terms = []
    for ranges in (r for n, r in query.ranges if n == relation.number):
        home = writer.stored(relation.number, HEALPIX)
        spans = (f"({home} >= {low} AND {home} < {high})" for low, high in ranges)
        terms.append(f"({' OR '.join(spans) or 'FALSE'})")
    for cell in (c for c in cells if c.edge.right == relation.number):
        left = cell.edge.left
        host, other = (writer.stored(n, CHUNK) for n in (left, relation.number))
        terms.append(f"{host} = {other}")
        for axis, name in zip(UNIT_VECTOR, cell.names, strict=True):
            place = f"qserv_cell({writer.stored(left, axis)}, {number(cell.side)})"
            terms.append(f"{place} = t{relation.number}.{name}")
    return terms


def _source(relation: Relation, writer: Writer) -> ScanSource:
    version = relation.version
    names = writer.used.get(relation.number, {})
    # COUNT(*) and cross joins read no column, but a file must still be read.
    columns = tuple(_column(relation, n) for n in names) or version.table.columns[:1]
    return ScanSource(
        release=version.release,
        table=version.table.name,
        manifest_version=version.manifest_version,
        extent=relation.extent,
        columns=columns,
    )


def _column(relation: Relation, name: str) -> Column:
    if (found := relation.version.table.find(name)) is not None:
        return found
    whole = name in {HEALPIX, CHUNK}
    return Column(name, DataType.BIGINT if whole else DataType.DOUBLE, nullable=False)
