"""Random FROM clauses: every shape of join, each named by a tag."""

from fuzz.expressions import predicate
from fuzz.nodes import Node, Source
from fuzz.paired import Paired, equal
from fuzz.places import near, region
from fuzz.scopes import Scope, any_column, column, has_position, named

_KINDS = ("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
_DIRECTORS = {"objectId": "Object", "galId": "Galaxy", "starId": "Star"}
_CHILDREN = {
    "objectId": ["Source", "Forced"],
    "galId": ["Shape"],
    "starId": ["Epoch"],
}


class Froms(Paired):
    """The part of the grammar that stands between FROM and WHERE."""

    def sources(self, depth: int) -> tuple[list[Source], list[Node]]:
        """Return FROM, and the conditions that belong into WHERE."""
        shapes = [
            (6, self._single),
            (4, self._by_key),
            (3.2, self._children),
            (5, self._replicated),
            (5, self._neighbours),
            (1, self._chain),
            (3, self._by_column),
            (1.5, self._other_family),
            (0.7, self._cartesian),
            (0.7, self._mixed),
            (1.8, self._bracketed),
            (5, self._pairs),
        ]
        if depth > 0:
            shapes.append((4.5, self._derived))
        if self.ctes:
            shapes.append((20, self._cte))
        weights = [weight for weight, _ in shapes]
        made, where = self.rng.choices([s for _, s in shapes], weights)[0]()
        # A comma binds weaker than JOIN, whose ON does not see past it: only the last.
        if made[-1].join == "CROSS JOIN" and self.rng.random() < 0.6:
            made[-1].join = ","
        return made, where

    def table_source(self, name: str | None = None) -> Source:
        names = ["Object"] * 4 + ["Source", "Forced", "Visit", "Filter"] * 2
        names += ["Galaxy", "Galaxy", "Shape", "Star", "Star", "Epoch"]
        names += ["Ref", "Match", "Match", "Twin", *self.catalog.views]
        table = self.catalog.tables[name or self.rng.choice(names)]
        return Source(table, self.alias())

    def _joined(self, source: Source, on: list[Node], tag: str, kinds=_KINDS):
        """Give a source a join with its conditions; inner ones may stand in WHERE."""
        source.join = self.rng.choice(kinds)
        source.tags = (f"join: {tag}", f"join: {tag}, {source.join}")
        if ", near" in tag or (tag.startswith("near ") and tag[5].isupper()):
            source.tags = source.tags[:1]
        if source.join == "JOIN" and self.rng.random() < 0.35:
            source.join = "CROSS JOIN"
            return on
        source.on = on
        return []

    def _more_on(self, *sources: Source) -> list[Node]:
        """Sometimes add a condition to an ON."""
        if self.rng.random() < 0.75:
            return []
        scope = Scope(self.rng, self.catalog, list(sources))
        if self.rng.random() < 0.12:
            made = self.subquery_predicate(scope, 0)
            made.tags += ("subquery in ON",)
            return [made]
        return [predicate(scope, 1)]

    def _single(self):
        return [self.table_source()], []

    def _by_key(self, tag: str = "director key"):
        rng = self.rng
        key = rng.choice(["objectId", "objectId", "galId", "starId"])
        first = self.table_source(_DIRECTORS[key])
        second = self.table_source(rng.choice(_CHILDREN[key]))
        if rng.random() < 0.4:
            first, second = second, first
        names = {c.name for c in first.columns} & {c.name for c in second.columns}
        if rng.random() < 0.25:
            second.join = rng.choice(_KINDS)
            second.tags = (f"join: {tag}", f"join: {tag}, {second.join}")
            if names == {key} and rng.random() < 0.5:
                second.natural = True
            else:
                second.using = [key]
            second.merged = [key]
            return [first, second], []
        on = [equal(named(first, key), named(second, key), rng)]
        where = self._joined(second, [*on, *self._more_on(first, second)], tag)
        return [first, second], where

    def _children(self):
        """Join children of one director, with it or without."""
        first, second = self.table_source("Source"), self.table_source("Forced")
        if self.rng.random() < 0.3:
            second = self.table_source("Source")
        on = [equal(named(first, "objectId"), named(second, "objectId"), self.rng)]
        where = self._joined(second, on, "child to child")
        if self.rng.random() < 0.5:
            return [first, second], where
        third = self.table_source("Object")
        on = [equal(named(third, "objectId"), named(first, "objectId"), self.rng)]
        if second.join in {"RIGHT JOIN", "FULL JOIN"}:
            on = [equal(named(third, "objectId"), named(second, "objectId"), self.rng)]
        return [first, second, third], where + self._joined(third, on, "star of keys")

    def _replicated(self):
        rng = self.rng
        second = self.table_source("Visit")
        if rng.random() < 0.25:
            first, second = second, self.table_source("Filter")
            on = [equal(named(first, "filterId"), named(second, "filterId"), rng)]
            return [first, second], self._joined(second, on, "replicated alone")
        first = self.table_source(rng.choice(["Source", "Forced", "Epoch", "Shape"]))
        if rng.random() < 0.35:
            first, second = second, first
        if rng.random() < 0.2:
            second.join, second.using = rng.choice(_KINDS), ["visit"]
            second.merged = ["visit"]
            second.tags = ("join: replicated", f"join: replicated, {second.join}")
            where = []
        else:
            on = [equal(named(first, "visit"), named(second, "visit"), rng)]
            where = self._joined(
                second, [*on, *self._more_on(first, second)], "replicated"
            )
        if rng.random() < 0.45 and not second.using:
            visits = first if first.relation.name == "Visit" else second
            third = self.table_source("Filter")
            on = [equal(named(visits, "filterId"), named(third, "filterId"), rng)]
            return [first, second, third], where + self._joined(third, on, "snowflake")
        return [first, second], where

    def _radius(self) -> float:
        overlap, rng = self.catalog.overlap, self.rng
        wide = [overlap * 1.37, overlap * 4.1, 0.71, 3.3]
        roll = rng.random()
        if roll < 0.6:
            return round(overlap * rng.choice([0.1, 0.31, 0.49, 0.8, 0.99]), 9)
        return round(rng.choice(wide), 9)

    def _near(self, first: Source, second: Source) -> Node:
        op = self.rng.choice(["<", "<="])
        return near(first, second, self._radius(), op, self.rng.randrange(4))

    def _placed(self) -> Source:
        names = ["Object"] * 3 + ["Source", "Galaxy", "Ref"] * 2
        return self.table_source(self.rng.choice(names))

    def _neighbours(self):
        rng = self.rng
        first, second = self._placed(), self._placed()
        on = [self._near(first, second)]
        keys = [
            c.name
            for c in first.columns
            if c.name in {"objectId", "galId", "refId"}
            and c.name in {d.name for d in second.columns}
        ]
        if keys and rng.random() < 0.5:
            on.append(_unequal(named(first, keys[0]), named(second, keys[0]), rng))
        on += self._more_on(first, second)
        tag = "near " + " ".join(sorted([first.relation.name, second.relation.name]))
        where = self._joined(second, on, tag)
        second.tags += ("join: near", f"join: near, {second.join}")
        if rng.random() < 0.5:
            # An area on one side limits the other, dilated.
            scope = Scope(rng, self.catalog, [first, second])
            side = rng.choice([first, second])
            limit = region(scope, side, close=True)
            limit.tags += ("region on one side of a near join",)
            where.append(limit)
        elif rng.random() < 0.4:
            scope = Scope(rng, self.catalog, [rng.choice([first, second])])
            where += [key] if (key := self.key(scope)) is not None else []
        if second.join == "LEFT JOIN" and rng.random() < 0.3:
            # No neighbour within r.
            key = next(c for c in second.columns if not c.nullable)
            lone = Node("({0} IS NULL)", "({0} IS NULL)", [column(second, key)], "bool")
            lone.tags = ("join: near anti",)
            where.append(lone)
        if rng.random() < 0.25:
            third = self.table_source(rng.choice(["Source", "Forced"]))
            placed = [
                s for s in (first, second) if "objectId" in {c.name for c in s.columns}
            ]
            if placed:
                side = rng.choice(placed)
                more = [equal(named(side, "objectId"), named(third, "objectId"), rng)]
                where += self._joined(
                    third, more, "near and key", ("JOIN", "LEFT JOIN")
                )
                return [first, second, third], where
        return [first, second], where

    def _chain(self):
        first, second, third = self._placed(), self._placed(), self._placed()
        where = self._joined(second, [self._near(first, second)], "near chain")
        middle = self.rng.choice([first, second, second])
        if second.join in {"RIGHT JOIN", "FULL JOIN"}:
            middle = second
        on = [self._near(middle, third)]
        if self.rng.random() < 0.2:
            on = [self._near(third, middle)]
        return [first, second, third], where + self._joined(third, on, "near chain")

    def _by_column(self):
        """Join on what is no director key."""
        rng = self.rng
        pairs = [
            ("Object", "parent", "Object", "objectId"),
            ("Object", "parent", "Source", "objectId"),
            ("Source", "visit", "Forced", "visit"),
            ("Object", "name", "Star", "name"),
            ("Object", "class", "Galaxy", "class"),
            ("Object", "name", "Object", "name"),
            ("Epoch", "visit", "Source", "visit"),
            ("Object", "mag", "Galaxy", "mag"),
            ("Object", "flux", "Source", "flux"),
            ("Object", "objectId", "Source", "sourceId"),
            ("Match", "apart", "Object", "mag"),
            ("Object", "_healpix_29", "Source", "_healpix_29"),
            ("Galaxy", "_healpix_29", "Match", "_healpix_29"),
            ("Twin", "apart", "Match", "apart"),
        ]
        one, here, other, there = rng.choice(pairs)
        first, second = self.table_source(one), self.table_source(other)
        here, there = named(first, here), named(second, there)
        if rng.random() < 0.4:
            first, second = second, first
        on = [equal(here, there, rng), *self._more_on(first, second)]
        return [first, second], self._joined(second, on, "other column")

    def _other_family(self):
        first = self._placed()
        second = self.table_source("Star")
        if self.rng.random() < 0.4:
            first, second = second, first
        on = [self._near(first, second), *self._more_on(first, second)]
        return [first, second], self._joined(second, on, "near across families")

    def _cartesian(self):
        first, second = self.table_source(), self.table_source("Filter")
        if self.rng.random() < 0.3:
            second = self.table_source(self.rng.choice(["Visit", "Star", "Galaxy"]))
        second.join = self.rng.choice([",", "CROSS JOIN"])
        second.tags = ("join: cartesian",)
        return [first, second], []

    def _mixed(self):
        """A comma binds weaker than JOIN."""
        first = self.table_source("Filter")
        third = self.table_source(self.rng.choice(["Source", "Forced"]))
        second = self.table_source("Object")
        second.join = ","
        on = [equal(named(second, "objectId"), named(third, "objectId"), self.rng)]
        third.join, third.on = self.rng.choice(_KINDS), on
        third.tags = ("join: comma and JOIN",)
        return [first, second, third], []

    def _bracketed(self):
        """Join what is joined in brackets."""
        rng = self.rng
        first, second = self._placed(), self.table_source("Object")
        third = self.table_source(rng.choice(["Source", "Forced", "Object"]))
        if third.relation.name == "Object":
            third.on = [self._near(second, third)]
        else:
            third.on = [equal(named(second, "objectId"), named(third, "objectId"), rng)]
        third.join = rng.choice(_KINDS)
        second.nested = [third]
        side = rng.choice([second, third])
        on = [self._near(first, second)]
        domains = _shared(first, side) & {"objectId", "visit", "class"}
        if domains and rng.random() < 0.6:
            domain = rng.choice(sorted(domains))
            ends = [
                any_column(Scope(rng, self.catalog, [s]), domain=domain)
                for s in (first, side)
            ]
            on = [equal(*ends, rng)]
        second.join, second.on = rng.choice(_KINDS), on
        second.tags = ("join: brackets", f"join: brackets, {second.join}")
        return [first, second], []

    def _derived(self):
        """A subquery in FROM, alone or joined with a table or another one."""
        rng = self.rng
        body = self.select(0, exact=True)
        if rng.random() < 0.15:
            body = self.set_operation(1)
        first = Source(body, self.alias(), tags=("node derived",))
        if rng.random() < 0.12:
            first.names = [f"n{i}" for i in range(len(body.columns))]
        if rng.random() < 0.4:
            return [first], []
        second = self.table_source()
        if rng.random() < 0.3:
            second = Source(self.select(0, exact=True), self.alias())
        return self._matched(first, second, "derived")

    def _cte(self):
        rng = self.rng
        first = Source(rng.choice(self.ctes), self.alias())
        if rng.random() < 0.2:
            return [first], []
        second = Source(rng.choice(self.ctes), self.alias())
        if rng.random() < 0.5:
            second = self.table_source()
        return self._matched(first, second, "CTE")

    def _matched(self, first: Source, second: Source, tag: str):
        """Join two sources on any column that both have, near each other, or not."""
        rng = self.rng
        if has_position(first) and rng.random() < 0.5:
            second = self._placed()
        if has_position(first) and has_position(second) and rng.random() < 0.8:
            return [first, second], self._joined(
                second, [self._near(first, second)], f"{tag}, near"
            )
        shared = _shared(first, second)
        tables = rng.sample(sorted(self.catalog.tables), len(self.catalog.tables))
        while not shared and tables and rng.random() < 0.95:
            second = self.table_source(tables.pop())
            shared = _shared(first, second)
        here = Scope(rng, self.catalog, [first])
        there = Scope(rng, self.catalog, [second])
        if not shared:
            if rng.random() < 0.5:
                first, second = second, first
            second.join = "CROSS JOIN"
            second.tags = (f"join: {tag}, cartesian",)
            return [first, second], []
        domain = rng.choice(sorted(shared))
        on = [
            equal(
                any_column(here, domain=domain, exact=True),
                any_column(there, domain=domain, exact=True),
                rng,
            )
        ]
        if rng.random() < 0.3:
            first, second = second, first
        return [first, second], self._joined(second, on, tag)


def _shared(first: Source, second: Source) -> set[str]:
    """Return the domains of columns that two sources could be joined on."""
    shared = {c.domain for c in first.columns if c.domain and c.tolerance is None}
    shared &= {c.domain for c in second.columns if c.tolerance is None}
    return shared - {"ra", "dec", "jd"}


def _unequal(left: Node, right: Node, rng) -> Node:
    op = rng.choice(["<>", "<", ">"])
    return Node(f"({{0}} {op} {{1}})", f"({{0}} {op} {{1}})", [left, right], "bool")
