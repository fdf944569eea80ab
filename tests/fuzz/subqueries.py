"""Random subqueries in expressions: IN, EXISTS, scalar; correlated or not."""

from fuzz.expressions import predicate
from fuzz.nodes import Node, Select, Source
from fuzz.places import near
from fuzz.scopes import Scope, any_column, column

_LINKS = (
    "objectId",
    "objectId",
    "refId",
    "galId",
    "starId",
    "visit",
    "class",
    "name",
    "filterId",
)


_AMONG = (
    "CASE WHEN EXISTS (SELECT 1 FROM ({1}) AS among(v) WHERE v = {0}) THEN TRUE "
    "WHEN EXISTS (SELECT 1 FROM ({1}) AS among(v) WHERE v IS NULL OR {0} IS NULL) "
    "THEN NULL ELSE FALSE END"
)
"""IN by its definition: DuckDB has it wrong where such a query holds a scalar."""


class Subqueries:
    """The part of the grammar that nests a SELECT in an expression."""

    def subquery_predicate(self, scope: Scope, depth: int) -> Node:
        """Return a condition with a subquery in it."""
        makers = [self._in_select, self._in_select, self._exists, self._compared]
        return self.rng.choice(makers)(scope, depth)

    def _in_select(self, scope: Scope, depth: int) -> Node:
        rng = self.rng
        domain = rng.choice(_LINKS)
        named = {c.domain for cte in self.ctes for c in cte.columns} & set(_LINKS)
        if named and rng.random() < 0.7:
            domain = rng.choice(sorted(named))
        it = any_column(scope, domain=domain, exact=True)
        if it is None:
            return self._exists(scope, depth)
        return self.in_select(it, scope, depth)

    def in_select(self, it: Node, scope: Scope, depth: int) -> Node:
        """Return whether a column is among what a subquery gives."""
        rng = self.rng
        body = self._offering(it.domain, scope, depth)
        negated = rng.choice(["", "NOT "])
        text = f"({{0}} {negated}IN ({{1}}))"
        correlated = "correlated" in body.tags
        meant = f"({negated}{_AMONG})" if correlated else text
        tag = f"subquery {negated}IN{', correlated' * correlated}"
        return Node(text, meant, [it, body], "bool", tags=(tag,))

    def _offering(self, domain: str, scope: Scope, depth: int) -> Select:
        """Return a subquery with one column of a domain."""
        rng = self.rng
        names = [
            t.name
            for t in self.catalog.tables.values()
            if any(c.domain == domain for c in t.columns)
        ]
        source = self.table_source(rng.choice(names))
        named = [c for c in self.ctes if any(x.domain == domain for x in c.columns)]
        if named and rng.random() < 0.85:
            source = Source(
                rng.choice(named), self.alias(), tags=("CTE in a subquery",)
            )
        shadows = self._shadow(source, scope)
        inner = Scope(rng, self.catalog, [source], scope)
        it = any_column(inner, domain=domain, exact=True)
        if it is None:
            it = Node("1", "1")
        where = [predicate(inner, 1) for _ in range(rng.choice([0, 1, 1]))]
        made = Select([(it, "c0")], [source], where)
        link = None if shadows or rng.random() > 0.3 else self._link(inner, scope)
        if link is not None:
            where.append(link)
            made.tags = ("correlated",)
        elif rng.random() < 0.2:
            made.groups = [it]
            made.having = [_count_over(rng.choice([1, 2]))]
        elif depth > 1 and rng.random() < 0.3:
            where.append(self.subquery_predicate(inner, 0))
        elif rng.random() < 0.3:
            made.distinct, made.tags = True, ("subquery DISTINCT",)
        if rng.random() < 0.15:
            # In the order of all that it gives, only equal values stay undecided.
            made.orders = [(Node("c0", "c0"), rng.random() < 0.5)]
            made.limit = rng.choice([1, 2, 5])
            made.tags = (*made.tags, "subquery TOP")
        return made

    def _shadow(self, source: Source, outer: Scope) -> bool:
        """Sometimes give a source of a subquery the alias of one outside."""
        if not outer.sources or self.rng.random() > 0.12:
            return False
        source.alias = self.rng.choice(outer.sources).alias
        source.tags += ("alias of an outer table",)
        return True

    def _link(self, inner: Scope, outer: Scope) -> Node | None:
        """Equate something inside with something outside, or put it near."""
        rng = self.rng
        if outer.outer is not None and rng.random() < 0.4:
            outer = outer.outer
        if inner.positions() and outer.positions() and rng.random() < 0.35:
            here, there = rng.choice(inner.positions()), rng.choice(outer.positions())
            return near(here, there, self._radius(), "<", rng.randrange(4))
        domains = {c.domain for _, c in inner.columns(exact=True)}
        domains &= {c.domain for _, c in outer.columns(exact=True)}
        domains &= set(_LINKS)
        if not domains:
            return None
        domain = rng.choice(sorted(domains))
        parts = [any_column(s, domain=domain, exact=True) for s in (inner, outer)]
        op = rng.choice(["="] * 5 + ["<", "<>"])
        return Node(f"({{0}} {op} {{1}})", f"({{0}} {op} {{1}})", parts, "bool")

    def _exists(self, scope: Scope, depth: int) -> Node:
        rng = self.rng
        source = self.table_source()
        inner = Scope(rng, self.catalog, [source], scope)
        where = [predicate(inner, 1) for _ in range(rng.choice([0, 1]))]
        tag = "subquery EXISTS"
        if rng.random() < 0.9 and (link := self._link(inner, scope)) is not None:
            where.append(link)
            tag += ", near" if link.tags else ", correlated"
        first = column(source, source.columns[0])
        body = Select([(first, "c0")], [source], where)
        negated = rng.choice(["", "NOT "])
        text = f"({negated}EXISTS ({{0}}))"
        tag = tag.replace("EXISTS", f"{negated}EXISTS")
        return Node(text, text, [body], "bool", tags=(tag,))

    def _compared(self, scope: Scope, depth: int) -> Node:
        made = self.scalar(scope, depth)
        it = any_column(scope, ("int", "float"), exact=True)
        if it is None:
            return Node("({0} IS NOT NULL)", "({0} IS NOT NULL)", [made], "bool")
        op = self.rng.choice(["<", ">", ">=", "<>"])
        return Node(f"({{0}} {op} {{1}})", f"({{0}} {op} {{1}})", [it, made], "bool")

    def scalar(self, scope: Scope, depth: int) -> Node:
        """Return a subquery of one row and one column."""
        rng = self.rng
        source = self.table_source()
        inner = Scope(rng, self.catalog, [source], scope)
        where = [predicate(inner, 1) for _ in range(rng.choice([0, 1]))]
        tag = "subquery scalar"
        if rng.random() < 0.5 and (link := self._link(inner, scope)) is not None:
            where.append(link)
            tag += ", near" if link.tags else ", correlated"
        if rng.random() < 0.12 and (only := any_column(inner, ("int",), exact=True)):
            return self._first(source, only, where, tag)
        it = self.aggregate(inner, exact=True)
        while it.kind not in {"int", "float"}:
            it = self.aggregate(inner, exact=True)
        body = Select([(it, "c0")], [source], where)
        return Node(
            "({0})",
            "({0})",
            [body],
            it.kind,
            rough=it.rough,
            domain=it.domain,
            tags=(tag,),
        )

    def _first(self, source: Source, it: Node, where: list[Node], tag: str) -> Node:
        """Return the least or greatest value, as the first row in order."""
        order = [(Node("c0", "c0"), self.rng.random() < 0.5)]
        body = Select([(it, "c0")], [source], where, orders=order, limit=1)
        tags = (tag, "subquery scalar of TOP 1")
        return Node("({0})", "({0})", [body], it.kind, domain=it.domain, tags=tags)


def _count_over(number: int) -> Node:
    text = f"(COUNT(*) > {number})"
    return Node(text, text, [], "bool", aggregate=True)
