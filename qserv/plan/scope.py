"""Names to columns: the FROM clause of one SELECT, as far as it has been read.

Regular identifiers match in any case, delimited ones exactly (ADQL 2.1 section 2.1.4);
a name that USING or NATURAL merges means the column of the left-most relation.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches

from sqlglot import exp

from qserv.catalog.snapshot import Snapshot, TableVersion
from qserv.dialects.lexis import where_is
from qserv.errors import ParseError, UnknownName
from qserv.plan.expressions import ColumnRef
from qserv.plan.query import Relation


def same_name(identifier: exp.Identifier, name: str) -> bool:
    """Whether an identifier of the query means this name of the catalog."""
    if identifier.args.get("quoted"):
        return bool(identifier.name == name)
    return bool(identifier.name.lower() == name.lower())


def find_table(
    node: exp.Table, snapshot: Snapshot, default_release: str | None
) -> TableVersion:
    """Return the table that FROM names.

    An unqualified name means the default release; without one, the only release that
    has such a table.

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
        return _named(node, release.name, snapshot)
    if default_release is not None:
        return _named(node, default_release, snapshot)
    having = [r for r in snapshot.releases.values() if node.name.lower() in r.tables]
    if len(having) == 1:
        return _named(node, having[0].name, snapshot)
    if having:
        several = ", ".join(f"{r.name}.{node.name}" for r in having)
        raise UnknownName(
            f"{where_is(node)}{node.name} may be any of {several}: say which"
        )
    known = ", ".join(
        f"{t.release}.{t.table.name}"
        for r in snapshot.releases.values()
        for t in r.tables.values()
    )
    raise UnknownName(
        f"{where_is(node)}there is no table {node.name}; loaded are: {known or 'none'}"
    )


def _named(node: exp.Table, release: str, snapshot: Snapshot) -> TableVersion:
    try:
        version = snapshot.table(release, node.name)
    except UnknownName as error:
        raise UnknownName(f"{where_is(node)}{error.text}") from error
    spelled = node.args.get("db")
    if spelled is not None and not same_name(spelled, version.release):
        raise UnknownName(
            f'{where_is(node)}there is no release "{spelled.name}"; '
            f"a name in quotes must match exactly: {version.release}"
        )
    if not same_name(node.this, version.table.name):
        raise UnknownName(
            f'{where_is(node)}there is no table "{node.name}"; '
            f"a name in quotes must match exactly: {version.table.name}"
        )
    return version


@dataclass(slots=True)
class Scope:
    """The relations read so far and the names that joins have merged."""

    relations: list[Relation] = field(default_factory=list)
    merged: dict[str, tuple[ColumnRef, ...]] = field(default_factory=dict)

    def column(self, node: exp.Column) -> ColumnRef:
        """Return the column that a reference means.

        Raises
        ------
        UnknownName
            If there is none or more than one; says which come close.
        """
        found = [
            ref
            for relation in self._qualified(node)
            if (ref := _column_of(relation, node.this)) is not None
        ]
        found = self._drop_merged(node, found)
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownName(
                f"{where_is(node)}column {node.name} is in "
                f"{' and '.join(self.relations[f.relation].alias for f in found)}: "
                "say which"
            )
        raise UnknownName(f"{where_is(node)}{self._missing(node)}")

    def _drop_merged(self, node: exp.Column, found: list[ColumnRef]) -> list[ColumnRef]:
        merged = self.merged.get(node.name.lower(), ())
        if node.args.get("table") or len(found) < 2:
            return found
        return [f for f in found if f not in merged[1:]]

    def qualified(self, node: exp.Column) -> list[Relation]:
        """Return the relations that ``x.*`` or ``*`` stands for.

        Raises
        ------
        UnknownName
            If no relation has that name.
        """
        return self._qualified(node)

    def _qualified(self, node: exp.Column) -> list[Relation]:
        table = node.args.get("table")
        if table is None:
            return self.relations
        release = node.args.get("db")
        found = [
            r
            for r in self.relations
            if same_name(table, r.alias)
            and (release is None or same_name(release, r.version.release))
        ]
        if not found:
            known = ", ".join(r.alias for r in self.relations)
            raise UnknownName(
                f"{where_is(node)}no table {table.name} in FROM; there is: {known}"
            )
        return found

    def _missing(self, node: exp.Column) -> str:
        relations = self._qualified(node)
        names = [c.name for r in relations for c in r.version.table.columns]
        by_lower = {name.lower(): name for name in names}
        close = get_close_matches(node.name.lower(), by_lower)
        hint = " or ".join(by_lower[c] for c in close)
        where = " or ".join(r.version.table.name for r in relations)
        did = (
            f"did you mean {hint}?" if close else f"there are: {', '.join(names[:40])}"
        )
        return f"{where} has no column {node.name}; {did}"


def _column_of(relation: Relation, identifier: exp.Identifier) -> ColumnRef | None:
    column = relation.version.table.find(identifier.name)
    if column is None or not same_name(identifier, column.name):
        return None
    return ColumnRef(relation.number, column)
