"""Read the tables that qserv fills itself: their rows become stages of the plan.

While a query is bound and simplified, such a table is the rows of a stage that is yet
to be made. Then one stage is made of each that is left, with the columns that anybody
reads: from there on its rows are like those that the czar made itself.
"""

from dataclasses import replace
from typing import Final

from qserv.catalog.system import TABLES
from qserv.catalog.tables import Table
from qserv.plan.depth import rebuild, references
from qserv.plan.plan import SystemRows
from qserv.plan.prepared import leaves
from qserv.plan.query import Body, Relation, StageRows
from qserv.plan.stages import Stages

_ROWS: Final = 1000.0
"""Rows that a plan expects of a system table; nobody counts them before."""
_FIRST: Final = -2
"""The number that stands for the stage of the first system table."""
_PLACES: Final = {name: _FIRST - place for place, name in enumerate(TABLES)}
_NAMES: Final = {place: name for name, place in _PLACES.items()}


def unread(table: Table) -> StageRows:
    """Return the rows of a system table before their stage is made."""
    return StageRows(_PLACES[table.name], table.columns, _ROWS)


def system_table(relation: Relation) -> Table | None:
    """Return the system table whose rows a relation has before their stage is made."""
    source = relation.source
    if not isinstance(source, StageRows) or source.stage not in _NAMES:
        return None
    return TABLES[_NAMES[source.stage]]


def read(body: Body, stages: Stages) -> Body:
    """Add the stages that read a query's system tables; return it over their rows."""
    found = {r.number: t for r in leaves(body) if (t := system_table(r)) is not None}
    used: dict[str, set[str]] = {table.name: set() for table in found.values()}
    for ref in references(body):
        if ref.relation in found:
            used[found[ref.relation].name].add(ref.column.name)
    # Contributions before loads: whose file is read is then there.
    made = {name: stages.read(_rows(name, used[name])) for name in sorted(used)}

    def there(relation: Relation) -> Relation:
        table = system_table(relation)
        return relation if table is None else replace(relation, source=made[table.name])

    return rebuild(body, lambda ref: ref, there)


def _rows(name: str, used: set[str]) -> SystemRows:
    every = TABLES[name].columns
    # COUNT(*) reads no column, but rows have one.
    return SystemRows(
        name, tuple(c for c in every if c.name in used) or every[:1], _ROWS
    )
