"""Names to columns: the FROM clause of one SELECT, as far as it has been read.

Regular identifiers match in any case, delimited ones exactly (ADQL 2.1 section 2.1.4);
a name that USING or NATURAL merges means one column, the preserved side's. What a
subquery does not find in its own FROM it seeks in the query around it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count
from typing import Any, Final

from sqlglot import exp

from qserv.catalog import system
from qserv.catalog.snapshot import Snapshot, TableVersion
from qserv.catalog.tables import CHUNK, HEALPIX, SOURCE, Column, DataType, Table
from qserv.catalog.views import View
from qserv.dialects.lexis import where_is
from qserv.errors import ParseError, UnknownName
from qserv.plan.expressions import Call, ColumnRef, Expression
from qserv.plan.query import Body, Relation, Shared


def same_name(identifier: exp.Identifier, name: str) -> bool:
    """Whether an identifier of the query means this name of the catalog."""
    if identifier.args.get("quoted"):
        return bool(identifier.name == name)
    return bool(identifier.name.lower() == name.lower())


@dataclass(frozen=True, slots=True)
class Viewed:
    """A view of a release, as FROM names it."""

    release: str
    view: View


@dataclass(frozen=True, slots=True)
class Names:
    """What table names mean.

    Parameters
    ----------
    snapshot
        Holds the tables.
    default_release
        Where unqualified tables are; None to look in all releases.
    shared
        The queries that WITH names, by lower-case name.
    numbers
        Gives each relation of the query its number.
    viewed
        Counts how often views are read.
    """

    snapshot: Snapshot
    default_release: str | None = None
    shared: Mapping[str, Shared] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=count)
    viewed: "count[int]" = field(default_factory=count)

    def find(self, node: exp.Table) -> TableVersion | Table | Viewed | Shared:
        """Return what FROM names.

        An unqualified name means a query of WITH, or a table or a view of the default
        release; without one, of the only release that has such a one, and never a
        system table.

        Raises
        ------
        UnknownName
            If there is no such table, or several.
        ParseError
            If the name has more than two parts.
        """
        if node.args.get("catalog"):
            raise ParseError(
                f"{where_is(node)}a table has at most two names: release.table"
            )
        release = node.args.get("db")
        if release is not None:
            return _named(node, release.name, self.snapshot)
        shared = self.shared.get(node.name.lower())
        if shared is not None and same_name(node.this, shared.name):
            return shared
        if self.default_release is not None:
            return _named(node, self.default_release, self.snapshot)
        return _only(node, self.snapshot)


def _only(node: exp.Table, snapshot: Snapshot) -> TableVersion | Table | Viewed:
    name = node.name.lower()
    having = [r for r in snapshot.releases.values() if name in {*r.tables, *r.views}]
    if len(having) == 1:
        return _named(node, having[0].name, snapshot)
    if having:
        several = ", ".join(f"{r.name}.{node.name}" for r in having)
        raise UnknownName(
            f"{where_is(node)}{node.name} may be any of {several}: say which"
        )
    known = ", ".join(
        f"{release.name}.{name}"
        for release in snapshot.releases.values()
        for name in (
            *(t.table.name for t in release.tables.values()),
            *(v.name for v in release.views.values()),
        )
    )
    own = f"; qserv's own is {system.RELEASE}.{name}" if name in system.TABLES else ""
    raise UnknownName(
        f"{where_is(node)}there is no table {node.name}; "
        f"loaded are: {known or 'none'}{own}"
    )


def _named(
    node: exp.Table, release: str, snapshot: Snapshot
) -> TableVersion | Table | Viewed:
    # An older qserv let users have a release of that name.
    if system.is_system(release) and (
        node.name.lower() in system.TABLES or release.lower() not in snapshot.releases
    ):
        return _system(node)
    try:
        view = snapshot.view(release, node.name)
        version = None if view is not None else snapshot.table(release, node.name)
    except UnknownName as error:
        raise UnknownName(f"{where_is(node)}{error.text}") from error
    _check_case(node.args.get("db"), snapshot.release(release).name, node, "release")
    if view is not None:
        _check_case(node.this, view.name, node, "view")
        return Viewed(snapshot.release(release).name, view)
    assert version is not None, "a name that is no view's is a table's"
    _check_case(node.this, version.table.name, node, "table")
    return version


def _system(node: exp.Table) -> Table:
    try:
        found = system.table(node.name)
    except UnknownName as error:
        raise UnknownName(f"{where_is(node)}{error.text}") from error
    _check_case(node.args.get("db"), system.RELEASE, node, "release")
    _check_case(node.this, found.name, node, "table")
    return found


def _check_case(
    identifier: exp.Identifier | None, name: str, node: exp.Table, what: str
) -> None:
    if identifier is not None and not same_name(identifier, name):
        raise UnknownName(
            f'{where_is(node)}there is no {what} "{identifier.name}"; '
            f"a name in quotes must match exactly: {name}"
        )


@dataclass(frozen=True, slots=True)
class Visible:
    """What a name in FROM shows.

    Parameters
    ----------
    alias, release
        The name, and the release that may stand before it.
    columns
        Lower-case name -> column and value.
    title
        How errors name it.
    hidden
        As `columns`: what may be named, and no ``*`` shows.
    """

    alias: str
    release: str | None
    columns: Mapping[str, tuple[Column, Expression]]
    title: str
    hidden: Mapping[str, tuple[Column, Expression]] = field(default_factory=dict)

    def find(self, identifier: exp.Identifier) -> tuple[Column, Expression] | None:
        """Return a column and its value, if there is such a one."""
        name = identifier.name.lower()
        found = self.columns.get(name) or self.hidden.get(name)
        if found is None or not same_name(identifier, found[0].name):
            return None
        return found


@dataclass(frozen=True, slots=True)
class Merged:
    """A column name that USING or NATURAL merges: its value, and what that hides."""

    shown: Expression
    hidden: frozenset[Expression]


def visible(relation: Relation, release: str | None = None) -> Visible:
    """Return what a relation shows under its alias, and in which release."""
    stored = relation.stored
    return Visible(
        relation.alias,
        release if stored is None else stored.release,
        {c.name.lower(): (c, ColumnRef(relation.number, c)) for c in relation.columns},
        relation.alias if stored is None else stored.table.name,
        _hidden(relation),
    )


def _hidden(relation: Relation) -> dict[str, tuple[Column, Expression]]:
    """Return the pseudo-columns of a stored table, as Qserv names them."""
    if relation.stored is None:
        return {}
    number = Column(SOURCE, DataType.INTEGER, description=_SOURCE_IS, nullable=False)
    source: dict[str, tuple[Column, Expression]] = {
        SOURCE: (number, ColumnRef(relation.number, number))
    }
    if not relation.stored.table.partitioned:
        return source
    whole = DataType.BIGINT
    chunk, home = (
        ColumnRef(relation.number, Column(name, whole, nullable=False))
        for name in (CHUNK, HEALPIX)
    )
    cell = Call("SUBCHUNK", (home,), whole)
    return {
        "chunkid": (Column("chunkId", whole, description=_CHUNK_IS), chunk),
        "subchunkid": (Column("subChunkId", whole, description=_CELL_IS), cell),
        HEALPIX: (Column(HEALPIX, whole, description=_HOME_IS), home),
        **source,
    }


PSEUDO: Final = frozenset({"chunkid", "subchunkid", HEALPIX, SOURCE})
"""The names of what tables have besides their columns."""
_PSEUDO_ARE: Final = (
    "a table in chunks has it, and a query in FROM if it shows it: select it in that "
    "query"
)
_SOURCE_MAY_BE: Final = (
    "a loaded table has it, and a query in FROM if it shows it: select it in that query"
)
_SOURCE_IS: Final = "The input file of the row: a number in qserv.contributions"
_CHUNK_IS: Final = "The chunk that holds the row: a NUNIQ HEALPix number"
_CELL_IS: Final = "The HEALPix NESTED pixel of the row's home at order 12"
_HOME_IS: Final = "The HEALPix NESTED pixel of the row's home at order 29"


@dataclass(slots=True)
class Scope:
    """The relations read so far, and what their names mean.

    Parameters
    ----------
    names
        What table names mean.
    outer
        The scope of the query around a subquery.
    subquery
        Binds a query inside an expression.
    relations, pool
        FROM, and the conditions that belong to WHERE.
    shown
        The names in FROM, in the order of the text.
    merged
        By lower-case column name.
    asked
        The names, in lower case, that the query asks of what no ``*`` shows.
    """

    names: Names
    outer: "Scope | None" = None
    subquery: "Callable[[Any, Names, Scope | None], Body] | None" = None
    relations: list[Relation] = field(default_factory=list)
    pool: list[Expression] = field(default_factory=list)
    shown: list[Visible] = field(default_factory=list)
    merged: dict[str, Merged] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    def beside(self) -> "Scope":
        """Return an empty scope for another part of the same FROM."""
        return Scope(self.names, self.outer, self.subquery, asked=self.asked)

    def column(self, node: exp.Column) -> Expression:
        """Return the value that a column reference means; raises as `named`."""
        return self.named(node)[1]

    def named(self, node: exp.Column) -> tuple[Column, Expression]:
        """Return the column that a reference means as FROM shows it, and its value.

        Raises
        ------
        UnknownName
            If there is none or more than one; says which come close.
        """
        scope: Scope | None = self
        while scope is not None:
            if (found := scope.find(node)) is not None:
                return found
            scope = scope.outer
        raise UnknownName(f"{where_is(node)}{self._missing(node)}")

    def find(self, node: exp.Column) -> tuple[Column, Expression] | None:
        """Return what a column reference means in this FROM, if it means anything."""
        found = [
            (each.alias, *known)
            for each in self.among(node)
            if (known := each.find(node.this)) is not None
        ]
        merged = self.merged.get(node.name.lower())
        if merged is not None and not node.args.get("table"):
            shown = next((f for f in found if f[2] in merged.hidden), None)
            rest = [f for f in found if f[2] not in merged.hidden]
            if shown is not None:
                found = [("USING", shown[1], merged.shown), *rest]
        if len(found) > 1:
            raise UnknownName(
                f"{where_is(node)}column {node.name} is in "
                f"{' and '.join(alias for alias, _, _ in found)}: say which"
            )
        return found[0][1:] if found else None

    def star(self, node: exp.Column) -> Iterator[tuple[Column, Expression]]:
        """Yield the columns that ``x.*`` or ``*`` stands for.

        Raises
        ------
        UnknownName
            If no relation has that name.
        """
        if node.args.get("table") is not None:
            for each in self.among(node) or self._unknown(node):
                yield from each.columns.values()
            return
        told: set[Expression] = set()
        for each in self.shown:
            for name, (column, value) in each.columns.items():
                merged = self.merged.get(name)
                if merged is None or value not in merged.hidden:
                    yield column, value
                elif merged.shown not in told:
                    told.add(merged.shown)
                    yield column, merged.shown

    def knows(self, node: exp.Column) -> bool:
        """Whether some relation has a column of that name."""
        return any(each.find(node.this) is not None for each in self.shown)

    def among(self, node: exp.Column) -> list[Visible]:
        """Return the relations whose column a reference may name."""
        table, release = node.args.get("table"), node.args.get("db")
        if table is None:
            return self.shown
        return [
            each
            for each in self.shown
            if same_name(table, each.alias)
            and (release is None or same_name(release, each.release or ""))
        ]

    def _unknown(self, node: exp.Column) -> list[Visible]:
        raise UnknownName(f"{where_is(node)}{self._no_table(node)}")

    def _no_table(self, node: exp.Column) -> str:
        known, scope = [], self.outer
        known += [each.alias for each in self.shown]
        while scope is not None:
            known += [each.alias for each in scope.shown]
            scope = scope.outer
        return f"no table {node.table} in FROM; there is: {', '.join(known)}"

    def _missing(self, node: exp.Column) -> str:
        scope: Scope | None = self
        while scope is not None and not scope.among(node):
            scope = scope.outer
        if scope is None:
            return self._no_table(node)
        those = scope.among(node)
        names = {n: c.name for each in those for n, (c, _) in each.columns.items()}
        close = get_close_matches(node.name.lower(), names)
        hint = " or ".join(names[c] for c in close)
        where = " or ".join(each.title for each in those)
        listed = ", ".join([*names.values()][:40])
        did = f"did you mean {hint}?" if close else f"there are: {listed}"
        if node.name.lower() in PSEUDO:
            is_source = node.name.lower() == SOURCE
            did = _SOURCE_MAY_BE if is_source else _PSEUDO_ARE
        return f"{where} has no column {node.name}; {did}"
