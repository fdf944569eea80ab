"""Random queries over the whole language, grammar-directed."""

import random
from dataclasses import replace

from fuzz.catalogs import Catalog
from fuzz.expressions import literal, numeric, predicate, value
from fuzz.froms import Froms
from fuzz.nodes import Body, Named, Node, Select, SetOp
from fuzz.places import distance
from fuzz.rows import Rows, reads
from fuzz.scopes import Scope, any_column, named
from fuzz.shapes import Shapes
from fuzz.subqueries import Subqueries

_KEYS = ("objectId", "objectId", "refId", "galId", "starId", "sourceId", "sourceId")
_WAYS = (True, False, True, False, "ASC NULLS FIRST", "DESC NULLS FIRST")


class Grammar(Froms, Subqueries, Rows, Shapes):
    """Makes queries for one catalog.

    Parameters
    ----------
    catalog
        What there is to ask.
    seed
        Of the dice.
    """

    def __init__(self, catalog: Catalog, seed: str) -> None:
        self.catalog = catalog
        self.rng = random.Random(seed)
        self.ctes: list[Named] = []
        self._aliases = 0

    def query(self) -> Body:
        """Return one query."""
        roll = self.rng.random()
        if roll < 0.12:
            return self._with()
        if roll < 0.2:
            return self.set_operation(2)
        if roll < 0.22:
            return self.nearest()
        if roll < 0.24:
            return self.twice()
        if roll < 0.27:
            return self.star()
        if roll < 0.32:
            return self.statistics()
        return self.select(2)

    def view(self) -> Body:
        """Return a query that may be named: each of its rows is decided."""
        roll = self.rng.random()
        if roll < 0.15:
            return self.set_operation(1)
        return self._with(exact=True) if roll < 0.3 else self.select(1, exact=True)

    def alias(self) -> str:
        self._aliases += 1
        return f"{self.rng.choice('abcdefgo')}{self._aliases}"

    def _with(self, *, exact: bool = False) -> Body:
        made = []
        for number in range(self.rng.choice([1, 1, 2])):
            body = self.select(1, exact=True)
            body.limit, body.offset = None, 0
            name, columns, listed = f"w{number}", body.columns, ""
            if self.rng.random() < 0.2:
                columns = [replace(c, name=f"k{i}") for i, c in enumerate(columns)]
                listed = f" ({', '.join(c.name for c in columns)})"
            made.append((f"{name}{listed}", body))
            self.ctes.append(Named(name, columns, ("node CTE",)))
        body = self.select(1, exact=exact)
        if self.rng.random() < 0.2:
            body = self.set_operation(1)
        body.ctes = made
        return body

    def set_operation(self, depth: int) -> SetOp:
        """Return UNION, EXCEPT or INTERSECT of selects with the same columns."""
        rng = self.rng
        op = rng.choice(
            ["UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL", "INTERSECT ALL"]
        )
        first = self.select(depth - 1, exact=True, plain=True)
        first.limit, first.offset, first.orders = None, 0, []
        wanted = [(c.kind, c.domain) for c in first.columns]
        second = self._alike(first, wanted)
        if rng.random() < 0.3:
            # What limits both sides limits the whole, one way or the other.
            for side in (first, second):
                limit = self.key(Scope(rng, self.catalog, side.sources))
                side.where += [limit] if limit is not None else []
        made = SetOp(op, first, second, bare=rng.random() < 0.6)
        if rng.random() < 0.25:
            more = self._alike(first, wanted)
            again = rng.choice(["UNION", "UNION ALL", "EXCEPT"])
            # Of equal rank, they stand from left to right; INTERSECT binds tighter.
            made = SetOp(again, made, more, bare=False)
        if rng.random() < 0.3:
            self._order_all(made)
        return made

    def _alike(self, first: Select, wanted) -> Select:
        """Return a select of columns of the same kinds, from elsewhere or not."""
        import copy

        if self.rng.random() < 0.5:
            made = copy.deepcopy(first)
            scope = Scope(self.rng, self.catalog, made.sources)
            if not made.grouped:
                made.where = [predicate(scope)]
                if self.rng.random() < 0.4 and (key := self.key(scope)) is not None:
                    made.where.append(key)
                return made
        flags = any(kind == "flag" for kind, _ in wanted)
        sources = [self.table_source("Object" if flags else None)]
        scope = Scope(self.rng, self.catalog, sources)
        outputs = []
        for number, (kind, domain) in enumerate(wanted):
            node = any_column(scope, (kind,), domain, exact=True)
            node = node or any_column(scope, (kind,), exact=True)
            outputs.append((node or literal(scope, kind, domain), f"c{number}"))
        return Select(outputs, sources, [predicate(scope)])

    def select(
        self,
        depth: int,
        *,
        exact: bool = False,
        plain: bool = False,
        outer: Scope | None = None,
    ) -> Select:
        """Return a SELECT; `exact` ones have columns that compare by their bits."""
        rng = self.rng
        sources, conditions = self.sources(depth)
        scope = Scope(rng, self.catalog, sources, outer)
        where = [*conditions, *self.where(scope, depth)]
        made = Select([], sources, where)
        roll = rng.random()
        if roll < 0.3 and not plain:
            self._grouped(made, scope, exact)
        elif roll < 0.48 and not plain:
            self._windowed(made, scope)
        else:
            made.distinct = rng.random() < 0.2
            self.plain(made, scope, depth, exact=exact or made.distinct)
        if not made.orders or exact:
            self._ordered(made, inner=exact)
        return made

    def where(self, scope: Scope, depth: int) -> list[Node]:
        rng = self.rng
        found = []
        for _ in range(rng.choice([0, 1, 1, 2])):
            roll = rng.random()
            if depth > 0 and roll < 0.25:
                found.append(self.subquery_predicate(scope, depth))
            elif roll < 0.4 and (key := self.key(scope)) is not None:
                found.append(key)
            else:
                found.append(predicate(scope))
        return found

    def key(self, scope: Scope) -> Node | None:
        """Limit a director key or a child id."""
        rng = self.rng
        found = [any_column(scope, domain=domain) for domain in _KEYS]
        found = [it for it in found if it is not None]
        if not found:
            return None
        it = rng.choice(found)
        domain = it.domain
        if rng.random() < 0.15:
            return self.in_select(it, scope, 0)
        one, two = (literal(scope, "int", domain) for _ in range(2))
        form = rng.choice(["=", "=", "IN", "BETWEEN", "<", "NOT IN", "OR", "OR"])
        text, parts = {
            "=": ("({0} = {1})", [it, one]),
            "IN": ("({0} IN ({1}, {2}))", [it, one, two]),
            "BETWEEN": ("({0} BETWEEN {1} AND {2})", [it, one, two]),
            "<": ("({0} < {1})", [it, one]),
            "NOT IN": ("({0} NOT IN ({1}, {2}))", [it, one, two]),
            "OR": ("({0} = {1} OR {0} = {2})", [it, one, two]),
        }[form]
        return Node(text, text, parts, "bool", tags=(f"key {form}",))

    def plain(self, made: Select, scope: Scope, depth: int, *, exact: bool) -> None:
        rng = self.rng
        places = scope.positions()
        if exact and places and not made.distinct and rng.random() < 0.55:
            # What is derived from a table with positions may have them.
            made.outputs = [(named(places[0], n), n) for n in ("ra", "dec")]
        for number in range(rng.choice([1, 2, 3, 4])):
            roll = rng.random()
            if not exact and roll < 0.05 and len(places) > 1:
                node = distance(*rng.sample(places, 2))
            elif depth > 0 and roll < 0.1:
                node = self.scalar(scope, depth)
            else:
                node = value(scope, exact=exact)
            if exact and not node.exact:
                node = literal(scope, "int")
            made.outputs.append((node, self._named(node, number, made)))

    def _named(self, node: Node, number: int, made: Select) -> str:
        """Sometimes keep a position's names, so that a derived table has one."""
        name = node.domain if node.domain in {"ra", "dec"} else ""
        taken = [alias for _, alias in made.outputs]
        if name and name not in taken and self.rng.random() < 0.7:
            return name
        return f"c{number}"

    def _ordered(self, made: Select, *, inner: bool) -> None:
        """Order and cut; a subquery only so that what it gives is decided."""
        rng = self.rng
        if rng.random() < (0.8 if inner else 0.55):
            return
        if inner:
            self._order_all(made)
            return
        exact = [(node, alias) for node, alias in made.outputs if node.exact]
        terms = [
            (
                Node(alias, alias, kind=node.kind, tags=("order by name",)),
                rng.random() < 0.5,
            )
            for node, alias in exact
        ]
        rng.shuffle(terms)
        if rng.random() < 0.5:
            made.orders = terms[: rng.choice([1, 2])]
            made.decided = len(made.orders) == len(made.outputs)
            if not made.grouped and not made.distinct and rng.random() < 0.3:
                scope = Scope(rng, self.catalog, made.sources)
                node = numeric(scope, 1, exact=True)
                if reads(node):
                    node.tags = (*node.tags, "order by expression")
                    made.orders.insert(0, (node, rng.random() < 0.5))
            if rng.random() < 0.3:
                made.limit = rng.choice([0, 1, 3, 10])
            return
        if rng.random() < 0.15:
            # Without order, any rows will do.
            made.limit, made.decided = rng.choice([1, 5, 20]), False
            return
        self._order_all(made)

    def _order_all(self, made: Body) -> None:
        """Order by all columns, so that only equal rows stay undecided; then cut."""
        rng = self.rng
        if any(not node.exact for node, _ in made.outputs):
            return
        places = list(enumerate(made.outputs, 1))
        rng.shuffle(places)
        made.orders = [
            (Node(name, name, tags=(tag,)), rng.choice(_WAYS))
            for place, (_, alias) in places
            for name, tag in [
                rng.choice([(alias, "order by name"), (str(place), "order by number")])
            ]
        ]
        made.limit = rng.choice([None, 1, 3, 10, 50])
        if made.limit is not None and rng.random() < 0.4:
            made.offset = rng.choice([1, 2, 7])
