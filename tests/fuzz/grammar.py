"""Random queries over the whole language, grammar-directed."""

import random

from fuzz.catalogs import Catalog
from fuzz.expressions import literal, numeric, predicate, value
from fuzz.froms import Froms
from fuzz.nodes import Body, Named, Node, Select, SetOp
from fuzz.places import distance
from fuzz.scopes import Scope, any_column, column
from fuzz.subqueries import Subqueries

_MOMENTS = ("STDDEV", "STDDEV_POP", "VARIANCE", "VAR_POP", "STDDEV_SAMP", "VAR_SAMP")
_IN_DUCK = {"STDDEV": "stddev_samp", "VARIANCE": "var_samp"}


class Grammar(Froms, Subqueries):
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
        if roll < 0.08:
            return self._with()
        if roll < 0.18:
            return self.set_operation(2)
        return self.select(2)

    def alias(self) -> str:
        self._aliases += 1
        return f"{self.rng.choice('abcdefgo')}{self._aliases}"

    def _with(self) -> Body:
        made = []
        for number in range(self.rng.choice([1, 1, 2])):
            body = self.select(1, exact=True)
            body.limit, body.offset = None, 0
            name = f"w{number}"
            made.append((name, body))
            self.ctes.append(Named(name, body.columns, ("node CTE",)))
        body = self.set_operation(1) if self.rng.random() < 0.2 else self.select(1)
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
                return made
        sources = [self.table_source()]
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
        where = [*conditions, *self._where(scope, depth)]
        made = Select([], sources, where)
        roll = rng.random()
        if roll < 0.32 and not plain:
            self._grouped(made, scope, depth, exact)
        elif roll < 0.42 and not plain:
            self._windowed(made, scope, exact)
        else:
            made.distinct = rng.random() < 0.2
            self._plain(made, scope, depth, exact=exact or made.distinct)
        self._ordered(made, inner=exact)
        return made

    def _where(self, scope: Scope, depth: int) -> list[Node]:
        rng = self.rng
        found = []
        for _ in range(rng.choice([0, 1, 1, 2])):
            roll = rng.random()
            if depth > 0 and roll < 0.25:
                found.append(self.subquery_predicate(scope, depth))
            elif roll < 0.4 and (key := self._key(scope)) is not None:
                found.append(key)
            else:
                found.append(predicate(scope))
        return found

    def _key(self, scope: Scope) -> Node | None:
        """Limit a director key or a child id."""
        rng = self.rng
        domain = rng.choice(["objectId", "objectId", "galId", "starId", "sourceId"])
        it = any_column(scope, domain=domain)
        if it is None:
            return None
        one, two = (literal(scope, "int", domain) for _ in range(2))
        form = rng.choice(["=", "IN", "BETWEEN", "<", "NOT IN", "OR"])
        text, parts = {
            "=": ("({0} = {1})", [it, one]),
            "IN": ("({0} IN ({1}, {2}))", [it, one, two]),
            "BETWEEN": ("({0} BETWEEN {1} AND {2})", [it, one, two]),
            "<": ("({0} < {1})", [it, one]),
            "NOT IN": ("({0} NOT IN ({1}, {2}))", [it, one, two]),
            "OR": ("({0} = {1} OR {0} = {2})", [it, one, two]),
        }[form]
        return Node(text, text, parts, "bool", tags=(f"key {form}",))

    def _plain(self, made: Select, scope: Scope, depth: int, *, exact: bool) -> None:
        rng = self.rng
        for number in range(rng.choice([1, 2, 3, 4])):
            roll = rng.random()
            places = scope.positions()
            if not exact and roll < 0.05 and len(places) > 1:
                node = distance(*rng.sample(places, 2))
            elif depth > 0 and roll < 0.1:
                node = self.scalar(scope, depth)
            else:
                node = value(scope, exact=exact)
            if exact and not node.exact:
                node = literal(scope, "int")
            made.outputs.append((node, f"c{number}"))

    def _grouped(self, made: Select, scope: Scope, depth: int, exact: bool) -> None:
        rng = self.rng
        made.groups = [
            self._group_key(scope) for _ in range(rng.choice([0, 1, 1, 1, 2]))
        ]
        made.groups = [g for g in made.groups if g is not None]
        shown = [g for g in made.groups if rng.random() < 0.9]
        nodes = [
            *shown,
            *(self.aggregate(scope, exact) for _ in range(rng.choice([1, 1, 2, 3]))),
        ]
        made.outputs = [(node, f"c{i}") for i, node in enumerate(nodes)]
        if rng.random() < 0.35:
            made.having = [self._having(scope)]
        del depth

    def _group_key(self, scope: Scope) -> Node | None:
        keys = ("objectId", "galId", "starId")
        if self.rng.random() < 0.35:
            found = [any_column(scope, domain=k, exact=True) for k in keys]
            found = [f for f in found if f is not None]
            if found:
                return self.rng.choice(found)
        if self.rng.random() < 0.6:
            return any_column(scope, exact=True)
        node = numeric(scope, 1, exact=True)
        return node if _reads(node) else None

    def _having(self, scope: Scope) -> Node:
        rng = self.rng
        node = self.aggregate(scope, exact=True)
        if node.kind not in {"int", "float"}:
            return Node("({0} IS NOT NULL)", "({0} IS NOT NULL)", [node], "bool")
        number = rng.choice(["1", "2", "3"]) if node.kind == "int" else "3.371"
        op = rng.choice([">", "<", ">=", "<>"])
        return Node(f"({{0}} {op} {number})", f"({{0}} {op} {number})", [node], "bool")

    def aggregate(self, scope: Scope, exact: bool = False) -> Node:
        """Return an aggregate of what is in scope."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.25:
            return _aggregate("COUNT(*)", "COUNT(*)", [], "int", "COUNT(*)")
        it = value(scope, exact=True)
        if roll < 0.4:
            return _aggregate("COUNT({0})", "COUNT({0})", [it], "int", "COUNT")
        if roll < 0.5:
            text = "COUNT(DISTINCT {0})"
            return _aggregate(text, text, [it], "int", "COUNT DISTINCT")
        if roll < 0.65:
            name = rng.choice(["MIN", "MAX"])
            made = _aggregate(f"{name}({{0}})", f"{name}({{0}})", [it], it.kind, name)
            made.domain, made.rough = it.domain, it.rough
            return made
        it = numeric(scope, 1, exact=True)
        if roll > 0.9 and not exact:
            return self._moment(scope)
        if roll > 0.8 and not exact:
            made = _aggregate("AVG({0})", "avg({0})", [it], "float", "AVG")
            made.tolerance, made.rough = 1e-9 if it.rough else 1e-12, True
            return made
        distinct = "DISTINCT " * (rng.random() < 0.15)
        text = f"SUM({distinct}{{0}})"
        made = _aggregate(
            text,
            f"qserv_finite({text})" if it.kind == "float" else text,
            [it],
            it.kind,
            f"SUM {distinct}".strip(),
        )
        made.tolerance, made.rough = (1e-9 if it.rough else None), it.rough
        if exact and it.rough:
            return _aggregate("COUNT(*)", "COUNT(*)", [], "int", "COUNT(*)")
        return made

    def _moment(self, scope: Scope) -> Node:
        it = any_column(
            scope, ("float",), self.rng.choice(["jd", "flux", "mag"]), exact=True
        )
        it = it or numeric(scope, 0, exact=True)
        name = self.rng.choice(_MOMENTS)
        duck = f"{_IN_DUCK.get(name, name.lower())}(CAST({{0}} AS DOUBLE))"
        made = _aggregate(f"{name}({{0}})", duck, [it], "float", name)
        made.tolerance, made.rough = (1e-6 if "STD" in name else 1e-9), True
        return made

    def _windowed(self, made: Select, scope: Scope, exact: bool) -> None:
        rng = self.rng
        keys = [column(s, c) for s, c in scope.columns(exact=True)]
        base = rng.sample(keys, min(len(keys), 2))
        made.outputs = [(node, f"c{i}") for i, node in enumerate(base)]
        over = "PARTITION BY {0}" if rng.random() < 0.75 else ""
        parts = [self._group_key(scope) or keys[0]]
        unique = self._unique(scope)
        name, needs_order = rng.choice(
            [
                ("ROW_NUMBER()", 2),
                ("RANK()", 1),
                ("DENSE_RANK()", 1),
                ("COUNT(*)", 0),
                ("SUM({1})", 0),
                ("MAX({1})", 0),
                ("LAG({1})", 2),
                ("LEAD({1})", 2),
                ("FIRST_VALUE({1})", 2),
            ]
        )
        it = any_column(scope, ("int",), exact=True) or literal(scope, "int")
        parts.append(it)
        ordered = (
            list(unique)
            if needs_order == 2
            else unique[:1] * (needs_order or rng.random() < 0.3)
        )
        if needs_order == 2 and unique is self._none:
            name, ordered = "COUNT(*)", []
        listed = []
        for node in ordered:
            parts.append(node)
            listed.append(f"{{{len(parts) - 1}}}")
        adql = " ".join(
            filter(None, [over, f"ORDER BY {', '.join(listed)}" if listed else ""])
        )
        duck = " ".join(
            filter(
                None,
                [
                    over,
                    f"ORDER BY {', '.join(f'{x} NULLS LAST' for x in listed)}"
                    if listed
                    else "",
                ],
            )
        )
        kind = it.kind
        node = Node(
            f"{name} OVER ({adql})",
            f"{name} OVER ({duck})",
            parts,
            kind,
            tags=(f"window {name.partition('(')[0]}",),
        )
        made.outputs.append((node, f"c{len(made.outputs)}"))
        del exact

    _none: tuple = ()

    def _unique(self, scope: Scope):
        """Return columns that tell all rows in scope apart, if there are such."""
        found = []
        for source in scope.sources:
            key = {
                "Object": "objectId",
                "Source": "sourceId",
                "Galaxy": "galId",
                "Star": "starId",
            }
            name = key.get(getattr(source.relation, "name", ""))
            if name is None or (
                any(
                    "FULL" in s.join or "RIGHT" in s.join or "LEFT" in s.join
                    for s in scope.sources
                )
                and False
            ):
                return self._none
            found.append(
                column(source, next(c for c in source.columns if c.name == name))
            )
        return tuple(found)

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
                if _reads(node):
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
            (Node(name, name, tags=(tag,)), rng.random() < 0.5)
            for place, (_, alias) in places
            for name, tag in [
                rng.choice([(alias, "order by name"), (str(place), "order by number")])
            ]
        ]
        made.limit = rng.choice([None, 1, 3, 10, 50])
        if made.limit is not None and rng.random() < 0.4:
            made.offset = rng.choice([1, 2, 7])


def _reads(node: Node) -> bool:
    """Whether an expression reads a column at all."""
    if not node.parts:
        return "." in node.adql and node.adql[0].isalpha()
    return any(isinstance(p, Node) and _reads(p) for p in node.parts)


def _aggregate(adql: str, duck: str, parts: list, kind: str, name: str) -> Node:
    return Node(adql, duck, parts, kind, aggregate=True, tags=(f"aggregate {name}",))
