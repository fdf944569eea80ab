"""Random queries as trees that are written twice: in ADQL, and as one DuckDB query.

The second text never saw the product's parser, binder or planner: what it answers over
whole tables is what the product has to answer over chunks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

ADQL, DUCK = 0, 1
WORLD = "@"
"""Stands in the oracle's SQL for the number of leaves of the world that is asked."""


@dataclass
class Node:
    """An expression: a template for each text, in which ``{0}`` is the first part.

    `kind` is int, float, text, flag (a BOOLEAN column) or bool (a predicate).
    `tolerance` is how far two correct answers may lie apart; None where they are equal
    to the last bit. `rough` values have sums that depend on the order of addition.
    `domain` says what values it has, so that comparisons hit.
    """

    adql: str
    duck: str
    parts: list = field(default_factory=list)
    kind: str = "int"
    tolerance: float | None = None
    rough: bool = False
    domain: str = ""
    tags: tuple[str, ...] = ()
    aggregate: bool = False

    def text(self, dialect: int) -> str:
        template = self.duck if dialect == DUCK else self.adql
        return template.format(*(p.text(dialect) for p in self.parts))

    @property
    def exact(self) -> bool:
        return self.tolerance is None


@dataclass
class Column:
    """What an alias in FROM offers."""

    name: str
    kind: str
    domain: str
    nullable: bool = True
    tolerance: float | None = None
    rough: bool = False
    stored: str = ""
    """What the oracle calls a pseudo-column, which ``*`` leaves out."""


@dataclass
class Table:
    """A stored table, by its qualified name in each text."""

    release: str
    name: str
    columns: list[Column]
    tags: tuple[str, ...] = ()
    bare: bool = False

    def text(self, dialect: int) -> str:
        if dialect == DUCK:
            return f'"{self.release}"."{self.name}"'
        return self.name if self.bare else f"{self.release}.{self.name}"


@dataclass
class Named:
    """A reference to a CTE."""

    name: str
    columns: list[Column]
    tags: tuple[str, ...] = ()

    def text(self, dialect: int) -> str:
        return self.name


@dataclass
class View:
    """A view of a release; the oracle has one of its own for each world."""

    release: str
    name: str
    columns: list[Column]
    tags: tuple[str, ...] = ("node view",)
    said: str = ""
    """What it is, for people: its text, after those of the views in it."""

    def text(self, dialect: int) -> str:
        if dialect == DUCK:
            return f'"{self.release}"."{self.name}{WORLD}"'
        return f"{self.release}.{self.name}"


@dataclass
class Source:
    """One item of FROM, and how it joins what stands before it."""

    relation: "Table | View | Named | Body"
    alias: str
    join: str = ""
    on: list[Node] = field(default_factory=list)
    using: list[str] = field(default_factory=list)
    natural: bool = False
    tags: tuple[str, ...] = ()
    bare: bool = False
    """Whether it has no alias but its name."""
    merged: list[str] = field(default_factory=list)
    """Names that USING or NATURAL made one of both sides."""
    nested: list["Source"] = field(default_factory=list)
    """What is joined to it in brackets, before it joins what stands before."""
    names: list[str] = field(default_factory=list)
    """New names of its columns: ``AS x (a, b)``."""

    @property
    def columns(self) -> list[Column]:
        if not self.names:
            return self.relation.columns
        pairs = zip(self.relation.columns, self.names, strict=True)
        return [replace(column, name=name) for column, name in pairs]

    def text(self, dialect: int) -> str:
        inner = self.relation.text(dialect)
        if isinstance(self.relation, (Select, SetOp)):
            inner = f"({inner})"
        name = f"{inner} AS {self.alias}"
        if self.names:
            name += f" ({', '.join(self.names)})"
        if self.bare and dialect == ADQL:
            name = inner
        if self.nested:
            name = f"({name}{''.join(s.text(dialect) for s in self.nested)})"
        if not self.join:
            return name
        if self.join == ",":
            return f", {name}"
        joined = f" {'NATURAL ' * self.natural}{self.join} {name}"
        if self.using:
            return f"{joined} USING ({', '.join(self.using)})"
        if self.on or not (self.natural or self.join == "CROSS JOIN"):
            return f"{joined} ON {conjunction(self.on, dialect)}"
        return joined


@dataclass
class Select:
    """One SELECT; `columns` is what it offers as a derived table."""

    outputs: list[tuple[Node, str]]
    sources: list[Source]
    where: list[Node] = field(default_factory=list)
    groups: list[Node] = field(default_factory=list)
    having: list[Node] = field(default_factory=list)
    orders: list[tuple[Node, bool]] = field(default_factory=list)
    distinct: bool = False
    limit: int | None = None
    offset: int = 0
    ctes: list = field(default_factory=list)
    tags: tuple[str, ...] = ()
    decided: bool = True
    """Whether ORDER BY leaves only equal rows undecided."""
    star: bool = False
    windows: list[tuple[str, Node]] = field(default_factory=list)
    """Windows with a name, which the oracle's text spells out where they are used."""

    @property
    def columns(self) -> list[Column]:
        return [
            Column(alias, node.kind, node.domain, True, node.tolerance, node.rough)
            for node, alias in self.outputs
        ]

    @property
    def grouped(self) -> bool:
        clauses = [node for node, _ in (*self.outputs, *self.orders)]
        return bool(self.groups or self.having) or any(_aggregates(n) for n in clauses)

    def text(self, dialect: int) -> str:
        top = f" TOP {self.limit}" if self.limit is not None and not dialect else ""
        listed = ", ".join(f"{n.text(dialect)} AS {a}" for n, a in self.outputs)
        listed = "*" if self.star and dialect == ADQL else listed
        text = (
            f"{_with(self, dialect)}SELECT{' DISTINCT' * self.distinct}{top} {listed}"
        )
        text += " FROM " + "".join(s.text(dialect) for s in self.sources)
        if self.where:
            text += f" WHERE {conjunction(self.where, dialect)}"
        if self.groups:
            text += f" GROUP BY {', '.join(g.text(dialect) for g in self.groups)}"
        if self.having:
            text += f" HAVING {conjunction(self.having, dialect)}"
        if self.windows and dialect == ADQL:
            named = (f"{name} AS ({node.text(ADQL)})" for name, node in self.windows)
            text += f" WINDOW {', '.join(named)}"
        return text + _tail(self, dialect)


@dataclass
class SetOp:
    """UNION, EXCEPT or INTERSECT of two bodies, with ALL or without."""

    op: str
    left: "Body"
    right: "Body"
    orders: list[tuple[Node, bool]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    ctes: list = field(default_factory=list)
    tags: tuple[str, ...] = ()
    decided: bool = True
    bare: bool = False
    """Whether the sides stand without parentheses, where that means the same."""

    @property
    def columns(self) -> list[Column]:
        return self.left.columns

    @property
    def outputs(self) -> list[tuple[Node, str]]:
        return self.left.outputs

    def text(self, dialect: int) -> str:
        left, right = (self._operand(side, dialect) for side in (self.left, self.right))
        text = f"{_with(self, dialect)}{left} {self.op} {right}"
        return text + _tail(self, dialect)

    def _operand(self, side: "Body", dialect: int) -> str:
        text = side.text(dialect)
        plain = isinstance(side, Select) and not (
            side.orders or side.ctes or side.limit is not None or side.offset
        )
        return text if self.bare and plain else f"({text})"


Body = Select | SetOp


def conjunction(parts: list[Node], dialect: int) -> str:
    """Write predicates joined by AND."""
    if not parts:
        return "1 = 1"
    return " AND ".join(f"({p.text(dialect)})" for p in parts)


def _with(body: Body, dialect: int) -> str:
    if not body.ctes:
        return ""
    listed = ", ".join(f"{name} AS ({b.text(dialect)})" for name, b in body.ctes)
    return f"WITH {listed} "


def _tail(body: Body, dialect: int) -> str:
    text = ""
    if body.orders:
        nulls = " NULLS LAST" if dialect == DUCK else ""
        terms = (
            f"{node.text(dialect)} {_way(down)}{'' if 'NULLS' in _way(down) else nulls}"
            for node, down in body.orders
        )
        text += f" ORDER BY {', '.join(terms)}"
    limited = body.limit is not None
    if limited and (dialect == DUCK or isinstance(body, SetOp)):
        text += f" LIMIT {body.limit}"
    if body.offset:
        text += f" OFFSET {body.offset}"
    return text


def _way(down: bool | str) -> str:
    """Write in which direction is ordered; a text says it in full."""
    return down if isinstance(down, str) else "DESC" if down else "ASC"


def _aggregates(node: Node) -> bool:
    return node.aggregate or any(
        isinstance(p, Node) and _aggregates(p) for p in node.parts
    )


def walk(thing) -> Iterator:
    """Yield every node, source and body of a query, outermost first."""
    yield thing
    match thing:
        case Node():
            below = thing.parts
        case Source():
            below = [thing.relation, *thing.on, *thing.nested]
        case Select():
            below = [b for _, b in thing.ctes]
            below += [n for n, _ in thing.outputs]
            below += [*thing.sources, *thing.where, *thing.groups, *thing.having]
            below += [n for n, _ in thing.orders]
        case SetOp():
            below = [*(b for _, b in thing.ctes), thing.left, thing.right]
        case _:
            below = []
    for each in below:
        yield from walk(each)


def tags(body: Body) -> set[str]:
    """Return everything that a query is made of, by name."""
    found = {tag for thing in walk(body) for tag in thing.tags}
    for thing in walk(body):
        if isinstance(thing, Source) and thing.join:
            found.add(f"clause {thing.join.strip() or 'comma'}")
        if isinstance(thing, Source) and isinstance(thing.relation, (Select, SetOp)):
            found.add("clause derived table")
        if isinstance(thing, Source) and thing.names:
            found.add("clause AS x (a, b)")
        if isinstance(thing, (Select, SetOp)):
            ways = {w for _, w in thing.orders if isinstance(w, str)}
            found |= {f"clause {way}" for way in ways}
        if isinstance(thing, Source) and thing.nested:
            found.add("clause joins in brackets")
        if isinstance(thing, Source) and (thing.using or thing.natural):
            found.add("clause USING" if thing.using else "clause NATURAL")
        if isinstance(thing, (Select, SetOp)):
            found |= set(_clauses(thing))
    return found


def _clauses(body: Body) -> Iterator[str]:
    if body.ctes:
        yield "clause WITH"
    if body.orders:
        yield "clause ORDER BY"
    if body.limit is not None:
        yield "clause TOP"
        if not body.decided:
            yield "clause TOP without order"
    if body.offset:
        yield "clause OFFSET"
    if isinstance(body, SetOp):
        yield f"clause {body.op}"
        return
    for name in ("distinct", "groups", "having", "where", "star", "windows"):
        if getattr(body, name):
            yield f"clause {name.upper()}"
    if body.grouped and not body.groups:
        yield "clause one group"
