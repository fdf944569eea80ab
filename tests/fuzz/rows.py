"""What a random SELECT makes of its rows: groups, aggregates, windows."""

import random

from fuzz.catalogs import Catalog
from fuzz.expressions import literal, numeric, value
from fuzz.nodes import Node, Select
from fuzz.scopes import Scope, any_column, column, named

_MOMENTS = ("STDDEV", "STDDEV_POP", "VARIANCE", "VAR_POP", "STDDEV_SAMP", "VAR_SAMP")
_TWO = (
    *("CORR", "COVAR_POP", "COVAR_SAMP", "REGR_SLOPE", "REGR_INTERCEPT", "REGR_R2"),
    *("REGR_COUNT", "REGR_AVGX", "REGR_AVGY", "REGR_SXX", "REGR_SYY", "REGR_SXY"),
)
"""Aggregates of y and x."""
_IN_DUCK = {"STDDEV": "stddev_samp", "VARIANCE": "var_samp"}
_PARTITION = (
    *("COUNT(*)", "SUM({0})", "MAX({0})", "MIN({0})", "COUNT({0})"),
    *("MEDIAN({0})", "REGR_COUNT({0}, {0})", "REGR_AVGX({0}, {0})"),
)
"""Window functions that any partition decides."""
_RANKS = ("RANK()", "DENSE_RANK()", "PERCENT_RANK()", "CUME_DIST()")
_FLOATS = {
    *("PERCENT_RANK()", "CUME_DIST()", "MEDIAN({0})", "REGR_AVGX({0}, {0})"),
}
_SEQUENCE = (
    *("ROW_NUMBER()", "LAG({0})", "LEAD({0})"),
    *("FIRST_VALUE({0})", "LAST_VALUE({0})", "NTILE(3)", "LAG({0}, 2, -1)"),
)
"""Those that need rows in one order."""
_FRAMES = (
    "1 PRECEDING AND CURRENT ROW",
    "UNBOUNDED PRECEDING AND CURRENT ROW",
    "2 PRECEDING AND 1 FOLLOWING",
    "CURRENT ROW AND UNBOUNDED FOLLOWING",
)
IDS = {
    "Object": "objectId",
    "Source": "sourceId",
    "Galaxy": "galId",
    "Star": "starId",
    "Ref": "refId",
}


class Rows:
    """The part of the grammar that groups rows and looks over them."""

    rng: random.Random
    catalog: Catalog

    def _grouped(self, made: Select, scope: Scope, exact: bool) -> None:
        rng = self.rng
        made.groups = [
            self.group_key(scope) for _ in range(rng.choice([0, 1, 1, 1, 2]))
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
        if made.groups and rng.random() < 0.12:
            made.outputs.append((self._over_groups(scope), f"c{len(nodes)}"))
        if made.groups and rng.random() < 0.15:
            node = self.aggregate(scope, exact=True)
            node.tags += ("order by aggregate",)
            made.orders = [(node, rng.random() < 0.5)]

    def group_key(self, scope: Scope) -> Node | None:
        keys = ("objectId", "galId", "starId", "refId")
        if self.rng.random() < 0.2:
            # A key that may be NULL: its rows are in many chunks.
            for source in scope.every():
                if getattr(source.relation, "name", "") == "Forced":
                    return named(source, "objectId")
        if self.rng.random() < 0.35:
            found = [any_column(scope, domain=k, exact=True) for k in keys]
            found = [f for f in found if f is not None]
            if found:
                return self.rng.choice(found)
        if self.rng.random() < 0.6:
            return any_column(scope, exact=True)
        node = numeric(scope, 1, exact=True)
        return node if reads(node) else None

    def _having(self, scope: Scope) -> Node:
        rng = self.rng
        node = self.aggregate(scope, exact=True)
        if node.kind not in {"int", "float"}:
            return Node("({0} IS NOT NULL)", "({0} IS NOT NULL)", [node], "bool")
        if rng.random() < 0.12:
            parts = [node, self.scalar(Scope(rng, self.catalog, []), 0)]
            tags = ("subquery in HAVING",)
            return Node("({0} > {1})", "({0} > {1})", parts, "bool", tags=tags)
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
        if roll > 0.85 and not exact:
            more = rng.random() < 0.6
            return self.statistic(scope) if more else self.moment(scope)
        if roll > 0.78 and not exact:
            text = rng.choice(["AVG({0})", "AVG({0})", "AVG(DISTINCT {0})"])
            made = _aggregate(text, text, [it], "float", text.partition("{")[0])
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

    def statistic(self, scope: Scope) -> Node:
        """Return a median, or a statistic of two columns."""
        rng = self.rng
        # Of what varies by an eighth or more: ratios of nearly nothing are anything. Of
        # large numbers that have nothing to do with each other, so is what is left of
        # their products.
        found = [column(*pair) for pair in scope.columns(("int", "float"), exact=True)]
        large = {"chunkId", "subChunkId"}
        found = [node for node in found if not node.rough and node.domain not in large]
        if not found:
            return _aggregate("COUNT(*)", "COUNT(*)", [], "int", "COUNT(*)")
        if rng.random() < 0.35:
            distinct = rng.choice(["", "", "DISTINCT "])
            adql = f"MEDIAN({distinct}{{0}})"
            duck = f"median({distinct}CAST({{0}} AS DOUBLE))"
            made = _aggregate(adql, duck, [rng.choice(found)], "float", "MEDIAN")
        else:
            name = rng.choice(_TWO)
            duck = f"{name.lower()}(CAST({{0}} AS DOUBLE), CAST({{1}} AS DOUBLE))"
            parts = [rng.choice(found), rng.choice(found)]
            kind = "int" if name == "REGR_COUNT" else "float"
            made = _aggregate(f"{name}({{0}}, {{1}})", duck, parts, kind, name)
        if made.kind == "float":
            made.duck = f"qserv_finite({made.duck})"
            made.tolerance, made.rough = 1e-8, True
        return made

    def moment(self, scope: Scope) -> Node:
        it = any_column(
            scope, ("float",), self.rng.choice(["jd"] * 6 + ["flux", "mag"]), exact=True
        )
        it = it or numeric(scope, 0, exact=True)
        name = self.rng.choice(_MOMENTS)
        duck = f"{_IN_DUCK.get(name, name.lower())}(CAST({{0}} AS DOUBLE))"
        made = _aggregate(f"{name}({{0}})", duck, [it], "float", name)
        made.tolerance, made.rough = (1e-6 if "STD" in name else 1e-9), True
        return made

    def _windowed(self, made: Select, scope: Scope) -> None:
        """Select columns and a window function of them."""
        rng = self.rng
        keys = [column(s, c) for s, c in scope.columns(exact=True)]
        base = rng.sample(keys, min(len(keys), 2))
        made.outputs = [(node, f"c{i}") for i, node in enumerate(base)]
        for _ in range(rng.choice([1, 1, 2])):
            node = self._window(scope)
            if rng.random() < 0.15:
                _name(made, node)
            made.outputs.append((node, f"c{len(made.outputs)}"))

    def _window(self, scope: Scope) -> Node:
        rng = self.rng
        it = any_column(scope, ("int",), exact=True) or literal(scope, "int")
        parts, over = [it], ""
        if rng.random() < 0.75:
            parts.append(self.group_key(scope) or any_column(scope, exact=True) or it)
            over = "PARTITION BY {1}"
        unique = self._unique(scope)
        names = [*_RANKS, *_RANKS, *_PARTITION]
        name = rng.choice([*names, *_SEQUENCE, *_SEQUENCE] if unique else names)
        keys = unique if name in _SEQUENCE else unique[:1]
        if name in _PARTITION:
            keys = rng.choice([[], [], unique[:1], unique])
        if name in _RANKS and not keys:
            name = "COUNT(*)"
        frame = ""
        if name in _PARTITION and unique and keys == unique and rng.random() < 0.9:
            frame = f" ROWS BETWEEN {rng.choice(_FRAMES)}"
        terms = []
        for key in keys:
            parts.append(key)
            terms.append(f"{{{len(parts) - 1}}}{rng.choice(['', ' DESC'])}")
        adql, duck = (
            f"{name} OVER ({over}{_order(terms, last)}{frame})"
            for last in ("", " NULLS LAST")
        )
        kind = "float" if name in _FLOATS else "int"
        tags = (f"window {name.partition('(')[0]}",) + ("window frame",) * bool(frame)
        return Node(adql, duck, parts, kind, rough=kind == "float", tags=tags)

    def _over_groups(self, scope: Scope) -> Node:
        """Return a window function of what groups have."""
        it = self.aggregate(scope, exact=True)
        if it.kind != "int":
            it = _aggregate("COUNT(*)", "COUNT(*)", [], "int", "COUNT(*)")
        name = self.rng.choice(["SUM({0}) OVER ()", "MAX({0}) OVER ()", *_RANKS[:2]])
        adql = duck = name
        if "OVER" not in name:
            adql = f"{name} OVER (ORDER BY {{0}} DESC)"
            duck = f"{name} OVER (ORDER BY {{0}} DESC NULLS LAST)"
        return Node(adql, duck, [it], "int", aggregate=True, tags=("window of groups",))

    def _unique(self, scope: Scope) -> list[Node]:
        """Return columns that tell all rows in scope apart, if there are such."""
        found = []
        for source in scope.every():
            name = IDS.get(getattr(source.relation, "name", ""))
            if name is None:
                return []
            found.append(named(source, name))
        return found


def _name(made: Select, node: Node) -> None:
    """Name the window of a function, and define it in WINDOW."""
    function, window = node.adql[:-1].split(" OVER (", 1)
    name = f"w{len(made.windows)}"
    made.windows.append((name, Node(window, window, node.parts)))
    node.adql = f"{function} OVER {name}"


def _order(terms: list[str], nulls: str) -> str:
    listed = ", ".join(f"{term}{nulls}" for term in terms)
    return f" ORDER BY {listed}" if terms else ""


def reads(node: Node) -> bool:
    """Whether an expression reads a column at all."""
    if not node.parts:
        return "." in node.adql and node.adql[0].isalpha()
    return any(isinstance(p, Node) and reads(p) for p in node.parts)


def _aggregate(adql: str, duck: str, parts: list, kind: str, name: str) -> Node:
    return Node(adql, duck, parts, kind, aggregate=True, tags=(f"aggregate {name}",))
