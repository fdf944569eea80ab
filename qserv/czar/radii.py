"""How far the overlap of each table reaches that a load makes or fills.

The radius belongs to a table's version, and all files of a version are made with it:
a snapshot that promised more than one of its files holds would lose neighbours. So a
table that stays keeps its radius, whatever the load asks for; it gets another one only
when all its rows come anew. What a family says is where new tables begin.
"""

from collections.abc import Iterable, Mapping
from math import floor

from qserv.catalog.replacing import Replaced, named
from qserv.catalog.snapshot import TableVersion
from qserv.catalog.tables import Table, TableKind
from qserv.errors import InvalidRequest
from qserv.sky.chunking import ChunkTree, deepest_order, widest_overlap

_ARCSEC = 3600


def radii(
    tables: Iterable[Table],
    known: Mapping[str, TableVersion],
    replaces: Iterable[Replaced],
    *,
    asked: float | None,
    new: float,
) -> dict[str, float]:
    """Return table -> overlap radius in degrees, for those that have one.

    Parameters
    ----------
    tables
        Of the load.
    known
        Lower-case name -> the tables of its release that are live.
    replaces
        What goes when it commits.
    asked
        The radius that it asks for; None: as it is.
    new
        The radius of new tables, unless it asks for one.

    Raises
    ------
    InvalidRequest
        If it asks for another radius than rows have that stay.
    """
    going = named(replaces)
    found = {}
    for table in tables:
        if not table.overlaps:
            continue
        live, goes = known.get(table.name.lower()), going.get(table.name.lower())
        if live is None or not live.table.overlaps:
            found[table.name] = new if asked is None else asked
        elif asked is None or asked == live.overlap:
            found[table.name] = live.overlap
        else:
            _check_changes(live, goes, asked)
            found[table.name] = asked
    return found


def _check_changes(live: TableVersion, goes: Replaced | None, asked: float) -> None:
    name, have = f"{live.release}.{live.table.name}", f"{live.overlap * _ARCSEC:g}"
    if goes is None or not goes.whole:
        raise InvalidRequest(
            f"table {name} has an overlap of {have} arcsec, not {asked * _ARCSEC:g}: "
            "leave it out, or change it with qserv table rebuild --overlap"
        )
    if live.table.kind is TableKind.REF_MATCH and goes.kept and asked < live.overlap:
        raise InvalidRequest(
            f"table {name} may have pairs {have} arcsec apart, which an overlap of "
            f"{asked * _ARCSEC:g} does not span: replace the table with qserv load "
            "--replace"
        )


def check_fits(found: Mapping[str, float], tree: ChunkTree) -> None:
    """Refuse a radius that is too wide for the leaves of a tree.

    Raises
    ------
    InvalidRequest
        If one is.
    """
    deepest = max(tree.orders)
    for table, radius in found.items():
        if deepest > deepest_order(radius):
            widest = floor(widest_overlap(deepest) * _ARCSEC)
            raise InvalidRequest(
                f"{table} cannot have an overlap of {radius * _ARCSEC:,g} arcsec: "
                f"the family has chunks of order {deepest}, which allow {widest:,} at "
                "most; load into a family of larger chunks"
            )
