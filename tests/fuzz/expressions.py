"""Random expressions over the columns in scope, typed so that most are accepted."""

import re

from fuzz.nodes import Node
from fuzz.pixels import homes, index
from fuzz.places import region, somewhere
from fuzz.scopes import Scope, any_column

NUMERIC = ("int", "float")
_COMPARISONS = ("=", "<>", "<", ">", "<=", ">=")


def literal(scope: Scope, kind: str, domain: str = "") -> Node:
    """Return a constant that occurs, where the domain is known."""
    rng = scope.rng
    values = scope.catalog.samples.get(domain)
    if kind == "text":
        text = str(rng.choice(values or ["star", "u"])).replace("'", "''")
        # Braces are places in templates.
        return Node(f"'{text}'", f"'{text}'", kind="text", domain=domain)
    value = rng.choice(values) if values else rng.randint(-2, 9)
    if kind in {"int", "home"}:
        value = int(value) + rng.choice([0, 0, 0, 1, -1])
        return Node(_sign(str(value)), _sign(str(value)), kind="int", domain=domain)
    value = float(value) + rng.choice([0, 0, 0.125, -1.5])
    text = repr(value) if "e" not in repr(value) else f"{value:.9f}"
    rough = bool(float(text) * 8 % 1)
    return Node(
        _sign(text), _sign(f"{text}e0"), kind="float", domain=domain, rough=rough
    )


def _sign(text: str) -> str:
    return f"({text})" if text.startswith("-") else text


def wide(node: Node, kind: str) -> str:
    """Return the template of a part in the type that arithmetic is done in."""
    return f"CAST({{{node}}} AS {'BIGINT' if kind == 'int' else 'DOUBLE'})"


def numeric(scope: Scope, depth: int = 2, *, exact: bool = False) -> Node:
    """Return a number of some kind."""
    rng = scope.rng
    leaf = any_column(scope, NUMERIC, exact=exact)
    if leaf is None:
        return literal(scope, rng.choice(NUMERIC))
    if depth <= 0 or rng.random() < 0.5:
        return leaf if rng.random() < 0.85 else literal(scope, leaf.kind, leaf.domain)
    makers = [_arithmetic, _arithmetic, _function, _case, _coalesce]
    makers += [_pixel, _contained] * bool(scope.positions())
    return rng.choice(makers)(scope, depth, exact)


def _pixel(scope: Scope, depth: int, exact: bool) -> Node:
    source, order = scope.rng.choice(scope.positions()), scope.rng.randrange(8)
    return index(source, order, scope.rng.randrange(2))


def _contained(scope: Scope, depth: int, exact: bool) -> Node:
    """Return 1 or 0, or NULL: whether a position lies in a region."""
    made = region(scope, scope.rng.choice(scope.positions()))
    said = re.fullmatch(r"\(?([01]) = (CONTAINS\(.*?\)\))\)?", made.adql)
    if said is None or made.parts:
        return numeric(scope, 0, exact=exact)
    inside = "" if said[1] == "1" else "NOT "
    duck = f"CAST({inside}{made.duck} AS BIGINT)"
    return Node(said[2], duck, tags=("geometry CONTAINS as a value",))


def _arithmetic(scope: Scope, depth: int, exact: bool) -> Node:
    left, right = numeric(scope, depth - 1, exact=exact), literal(scope, "int")
    if scope.rng.random() < 0.5:
        right = numeric(scope, depth - 1, exact=exact)
    op = scope.rng.choice(["+", "-", "*", "/", "MOD"])
    kind = "int" if left.kind == right.kind == "int" else "float"
    a, b = wide(0, kind), wide(1, kind)
    adql = f"({{0}} {op} {{1}})"
    duck = f"({a} {op} {b})"
    if op == "/":
        duck = f"({a} {'//' if kind == 'int' else '/'} nullif({b}, 0))"
    if op == "MOD":
        adql, duck = "MOD({0}, {1})", f"({a} % nullif({b}, 0))"
    if kind == "float":
        duck = f"qserv_finite({duck})"
    node = Node(adql, duck, [left, right], kind, tags=(f"operator {op}",))
    return _inherit(node, rough=op in {"/", "MOD"} or _big(left) or _big(right))


def _big(node: Node) -> bool:
    """Whether sums of products with it may leave the 53 bits of a double."""
    return node.rough or (node.domain == "" and bool(node.parts))


def _inherit(node: Node, *, rough: bool = False) -> Node:
    below = [p for p in node.parts if isinstance(p, Node)]
    tolerances = [p.tolerance for p in below if p.tolerance is not None]
    node.tolerance = max(tolerances) * 10 if tolerances else None
    node.rough = rough or any(p.rough for p in below)
    node.aggregate = False
    return node


_FUNCTIONS = {
    "ABS": "abs({0})",
    "FLOOR": "floor({0})",
    "CEILING": "ceil({0})",
    "SQRT": "qserv_finite(qserv_sqrt({0}))",
    "LOG10": "qserv_finite(qserv_log10({0}))",
    "SIGN": "sign({0})",
    "ROUND": "qserv_finite(qserv_round({0}, 0))",
    "SIN": "qserv_sin({0})",
}


def _function(scope: Scope, depth: int, exact: bool) -> Node:
    name = scope.rng.choice(sorted(_FUNCTIONS))
    below = numeric(scope, depth - 1, exact=exact)
    inner = wide(0, "int" if below.kind == "int" and name == "ABS" else "float")
    kind = below.kind if name == "ABS" else "float"
    duck = _FUNCTIONS[name].format(inner)
    node = Node(f"{name}({{0}})", duck, [below], kind, tags=(f"function {name}",))
    return _inherit(node, rough=name in {"SQRT", "LOG10", "SIN"} or _big(below))


def _case(scope: Scope, depth: int, exact: bool) -> Node:
    condition = predicate(scope, 0)
    then = numeric(scope, depth - 1, exact=exact)
    other = numeric(scope, depth - 1, exact=exact)
    kind = "int" if then.kind == other.kind == "int" else "float"
    adql = "CASE WHEN {0} THEN {1} ELSE {2} END"
    duck = f"CASE WHEN {{0}} THEN {wide(1, kind)} ELSE {wide(2, kind)} END"
    node = Node(adql, duck, [condition, then, other], kind, tags=("node CASE",))
    return _inherit(node, rough=_big(then) or _big(other))


def _coalesce(scope: Scope, depth: int, exact: bool) -> Node:
    left = numeric(scope, depth - 1, exact=exact)
    right = literal(scope, left.kind, left.domain)
    duck = f"coalesce({wide(0, left.kind)}, {wide(1, left.kind)})"
    node = Node("COALESCE({0}, {1})", duck, [left, right], left.kind)
    node.domain, node.tags = left.domain, ("function COALESCE",)
    return _inherit(node, rough=_big(left))


def text_value(scope: Scope) -> Node:
    """Return a text; a number's where there is no column of texts."""
    leaf = any_column(scope, ("text",))
    if leaf is None:
        return literal(scope, "text", "name")
    roll = scope.rng.random()
    if roll < 0.6:
        return leaf
    if roll < 0.8:
        name = scope.rng.choice(["UPPER", "LOWER"])
        tag = (f"function {name}",)
        return Node(f"{name}({{0}})", f"{name}({{0}})", [leaf], "text", tags=tag)
    more = [leaf, literal(scope, "text", "name")]
    return Node("({0} || {1})", "({0} || {1})", more, "text", tags=("operator ||",))


def value(scope: Scope, *, exact: bool = False) -> Node:
    """Return something to select, group by or compare."""
    roll = scope.rng.random()
    if roll < 0.55:
        found = any_column(scope, exact=exact)
        if found is not None:
            return found
    if roll < 0.9:
        return numeric(scope, exact=exact)
    return text_value(scope)


def predicate(scope: Scope, depth: int = 2) -> Node:
    """Return a condition on the rows in scope, without subqueries."""
    rng = scope.rng
    if depth > 0 and rng.random() < 0.3:
        left, right = predicate(scope, depth - 1), predicate(scope, depth - 1)
        op = rng.choice(["AND", "OR", "OR"])
        tag = (f"operator {op}",)
        text = f"({{0}} {op} {{1}})"
        return Node(text, text, [left, right], "bool", tags=tag)
    if depth > 0 and rng.random() < 0.15:
        inner = predicate(scope, depth - 1)
        return Node("(NOT {0})", "(NOT {0})", [inner], "bool", tags=("operator NOT",))
    if scope.positions() and rng.random() < 0.3:
        return region(scope, rng.choice(scope.positions()))
    if rng.random() < 0.06 and (stored := scope.stored()):
        return homes(scope, rng.choice(stored), *somewhere(scope), 10.0)
    makers = [_compare, _compare, _compare_columns, _between, _in, _null, _like, _flag]
    return rng.choice(makers)(scope)


def _bool(adql: str, parts: list, tag: str, duck: str | None = None) -> Node:
    return Node(adql, duck or adql, parts, "bool", tags=(tag,))


def _thing(scope: Scope) -> Node:
    kinds = ("int", "float", "text")
    found = any_column(scope, kinds, exact=True)
    if found is None or scope.rng.random() < 0.15:
        return numeric(scope, 1, exact=True)
    return found


def _compare(scope: Scope) -> Node:
    left = _thing(scope)
    right = literal(scope, left.kind, left.domain)
    op = scope.rng.choice(_COMPARISONS)
    if scope.rng.random() < 0.2:
        left, right = right, left
    return _bool(f"({{0}} {op} {{1}})", [left, right], f"operator {op}")


def _compare_columns(scope: Scope) -> Node:
    left = _thing(scope)
    kinds = ("text",) if left.kind == "text" else NUMERIC
    right = any_column(scope, kinds, exact=True) or left
    op = scope.rng.choice(_COMPARISONS)
    return _bool(f"({{0}} {op} {{1}})", [left, right], f"operator {op}")


def _between(scope: Scope) -> Node:
    it = _thing(scope)
    ends = [literal(scope, it.kind, it.domain) for _ in range(2)]
    if it.kind != "text" and scope.rng.random() < 0.85:
        ends.sort(key=lambda node: float(node.adql.strip("()")))
    negated = scope.rng.choice(["", "", "NOT "])
    text = f"({{0}} {negated}BETWEEN {{1}} AND {{2}})"
    return _bool(text, [it, *ends], f"operator {negated}BETWEEN")


def _in(scope: Scope) -> Node:
    it = _thing(scope)
    count = scope.rng.choice([1, 2, 3, 8, 12])
    if it.kind == "int" and scope.rng.random() < 0.2:
        return _in_long(scope, it)
    items = [literal(scope, it.kind, it.domain) for _ in range(count)]
    negated = scope.rng.choice(["", "", "NOT "])
    listed = ", ".join(f"{{{i + 1}}}" for i in range(count))
    return _bool(
        f"({{0}} {negated}IN ({listed}))", [it, *items], f"operator {negated}IN"
    )


def _in_long(scope: Scope, it: Node) -> Node:
    """Return a list of more items than are read as an expression."""
    values = scope.catalog.samples.get(it.domain) or [1, 2, 3]
    kept = {int(v) for v in values if scope.rng.random() < 0.3}
    kept |= set(range(10_000_000, 10_001_100))
    listed = ", ".join(map(str, sorted(kept)))
    negated = scope.rng.choice(["", "NOT "])
    text = f"({{0}} {negated}IN ({listed}))"
    return _bool(text, [it], f"operator {negated}IN of a long list")


def _null(scope: Scope) -> Node:
    negated = scope.rng.choice(["", "NOT "])
    return _bool(
        f"({{0}} IS {negated}NULL)", [value(scope)], f"operator IS {negated}NULL"
    )


def _like(scope: Scope) -> Node:
    it = text_value(scope)
    pattern = scope.rng.choice(["%a%", "s%", "_%", "%'%".replace("'", "''"), "100%"])
    op = scope.rng.choice(["LIKE", "NOT LIKE", "ILIKE"])
    return _bool(f"({{0}} {op} '{pattern}')", [it], f"operator {op}")


def _flag(scope: Scope) -> Node:
    it = any_column(scope, ("flag",))
    if it is None:
        return _compare(scope)
    number = scope.rng.choice([0, 1])
    said = scope.rng.choice([f"= {number}", "IS TRUE", "IS NOT FALSE"])
    duck = f"= {'TRUE' if number else 'FALSE'}" if said[0] == "=" else said
    return _bool(f"({{0}} {said})", [it], "operator flag", f"({{0}} {duck})")
