"""Random expressions over the columns in scope, typed so that most are accepted."""

import math
import random
from dataclasses import dataclass

import numpy as np
from fuzz.catalogs import Catalog
from fuzz.nodes import Column, Node, Source

from qserv.sky import healpix
from qserv.sky.regions import Polygon, box, chord2

NUMERIC = ("int", "float")
_COMPARISONS = ("=", "<>", "<", ">", "<=", ">=")


@dataclass
class Scope:
    """The sources of a SELECT, those around it, and the dice."""

    rng: random.Random
    catalog: Catalog
    sources: list[Source]
    outer: "Scope | None" = None

    def columns(self, kinds=None, domain: str | None = None, *, exact: bool = False):
        """Return (source, column) pairs that fit."""
        return [
            (source, column)
            for source in self.sources
            for column in source.columns
            if (kinds is None or column.kind in kinds)
            and (domain is None or column.domain == domain)
            and not (exact and column.tolerance is not None)
        ]

    def positions(self) -> list[Source]:
        """Return the sources that have a position."""
        return [s for s in self.sources if has_position(s)]


def has_position(source: Source) -> bool:
    return {"ra", "dec"} <= {c.name for c in source.columns if c.domain == c.name}


def column(source: Source, offered: Column) -> Node:
    name = f"{source.alias}.{offered.name}"
    return Node(
        name,
        name,
        kind=offered.kind,
        tolerance=offered.tolerance,
        rough=offered.rough,
        domain=offered.domain,
    )


def named(source: Source, name: str) -> Node:
    """Return a column of a source by its name."""
    return column(source, next(c for c in source.columns if c.name == name))


def any_column(scope: Scope, kinds=None, domain=None, *, exact=False) -> Node | None:
    found = scope.columns(kinds, domain, exact=exact)
    if not found:
        return None
    return column(*scope.rng.choice(found))


def literal(scope: Scope, kind: str, domain: str = "") -> Node:
    """Return a constant that occurs, where the domain is known."""
    rng = scope.rng
    values = scope.catalog.samples.get(domain)
    if kind == "text":
        text = str(rng.choice(values or ["star", "u"])).replace("'", "''")
        # Braces are places in templates.
        return Node(f"'{text}'", f"'{text}'", kind="text", domain=domain)
    value = rng.choice(values) if values else rng.randint(-2, 9)
    if kind == "int":
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
    made = rng.choice([_arithmetic, _arithmetic, _function, _case, _coalesce])
    return made(scope, depth, exact)


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
    count = scope.rng.choice([1, 2, 3, 3, 8])
    items = [literal(scope, it.kind, it.domain) for _ in range(count)]
    negated = scope.rng.choice(["", "", "NOT "])
    listed = ", ".join(f"{{{i + 1}}}" for i in range(count))
    return _bool(
        f"({{0}} {negated}IN ({listed}))", [it, *items], f"operator {negated}IN"
    )


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


# --- positions ---


def vector(lon: str, lat: str) -> str:
    return f"qserv_x({lon}, {lat}), qserv_y({lon}, {lat}), qserv_z({lat})"


def _fixed(lon: float, lat: float) -> str:
    parts = healpix.unit_vectors(np.array([lon]), np.array([lat]))
    return ", ".join(f"{float(p[0])!r}::DOUBLE" for p in parts)


def near(first: Source, second: Source, radius: float, op: str, form: int) -> Node:
    """Return whether two rows lie within a radius, in one of its phrasings."""
    a, b = first.alias, second.alias
    duck = (
        f"(qserv_chord2({vector(f'{a}.ra', f'{a}.dec')}, "
        f"{vector(f'{b}.ra', f'{b}.dec')}) {op} {chord2(radius)!r}::DOUBLE)"
    )
    r = f"{radius:.12f}"
    points = f"POINT({a}.ra, {a}.dec)", f"POINT({b}.ra, {b}.dec)"
    adql = (
        f"DISTANCE({a}.ra, {a}.dec, {b}.ra, {b}.dec) {op} {r}",
        f"DISTANCE({points[0]}, {points[1]}) {op} {r}",
        f"{r} {'>' if op == '<' else '>='} DISTANCE({points[1]}, {points[0]})",
        f"1 = CONTAINS({points[0]}, CIRCLE({b}.ra, {b}.dec, {r}))",
    )
    if form == 3:
        duck = duck.replace(f") {op} ", ") <= ")
    return Node(adql[form], duck, [], "bool", tags=("geometry near",))


def distance(first: Source, second: Source) -> Node:
    a, b = first.alias, second.alias
    return Node(
        f"DISTANCE({a}.ra, {a}.dec, {b}.ra, {b}.dec)",
        f"qserv_separation({vector(f'{a}.ra', f'{a}.dec')}, "
        f"{vector(f'{b}.ra', f'{b}.dec')})",
        kind="float",
        tolerance=1e-9,
        rough=True,
        tags=("geometry DISTANCE",),
    )


def region(scope: Scope, source: Source, *, close: bool = False) -> Node:
    """Return a condition on the position of a source, near some row of a catalog.

    A `close` one is about as small as the overlap is wide.
    """
    rng = scope.rng
    place = rng.randrange(len(scope.catalog.samples["ra"]))
    lon, lat = (scope.catalog.samples[n][place] for n in ("ra", "dec"))
    size = scope.catalog.overlap * rng.choice([0.3, 1, 3, 30])
    if close:
        size = scope.catalog.overlap * rng.choice([0.02, 0.3, 1])
    else:
        size += rng.choice([0, 0, 5, 40])
    made = rng.choice([_circle, _circle, _ranges, _ranges, _polygon, _box, _apart])
    return made(scope, source, lon, lat, min(size, 80.0))


def _circle(scope, source, lon, lat, size) -> Node:
    a = source.alias
    size = round(size * 1.0000137, 9)
    lon, lat = round(lon, 6), round(lat, 6)
    limit = f"{chord2(size)!r}::DOUBLE"
    chord = f"qserv_chord2({vector(f'{a}.ra', f'{a}.dec')}, {_fixed(lon, lat)})"
    inside = scope.rng.choice([1, 1, 0])
    adql = f"{inside} = CONTAINS(POINT({a}.ra, {a}.dec), CIRCLE({lon}, {lat}, {size}))"
    duck = f"({chord} <= {limit})" if inside else f"(NOT {chord} <= {limit})"
    return Node(f"({adql})", duck, [], "bool", tags=(f"region circle {inside}",))


def _apart(scope, source, lon, lat, size) -> Node:
    a = source.alias
    size = round(size * 1.0000137, 9)
    lon, lat = round(lon, 6), round(lat, 6)
    op = scope.rng.choice(["<", "<=", ">"])
    chord = f"qserv_chord2({vector(f'{a}.ra', f'{a}.dec')}, {_fixed(lon, lat)})"
    adql = f"(DISTANCE({a}.ra, {a}.dec, {lon}, {lat}) {op} {size})"
    duck = f"({chord} {op} {chord2(size)!r}::DOUBLE)"
    return Node(adql, duck, [], "bool", tags=(f"region DISTANCE {op}",))


def _ranges(scope, source, lon, lat, size) -> Node:
    """Limit ra and dec by comparisons, across RA 0 too."""
    a = source.alias
    low, high = round(lon - size, 5), round(lon + size, 5)
    south, north = round(lat - size, 5), round(lat + size, 5)
    if scope.rng.random() < 0.3:
        return Node(
            *[f"({a}.dec BETWEEN {south} AND {north})"] * 2,
            [],
            "bool",
            tags=("region dec",),
        )
    if low < 0 or high > 360:
        text = f"({a}.ra >= {low % 360:.5f} OR {a}.ra <= {high % 360:.5f})"
        tag = "region ra wrap"
    elif scope.rng.random() < 0.5:
        text, tag = f"({a}.ra BETWEEN {low} AND {high})", "region ra BETWEEN"
    else:
        text, tag = f"({a}.ra > {low} AND {high} >= {a}.ra)", "region ra compared"
    if scope.rng.random() < 0.5:
        text = f"({text} AND {a}.dec > {south} AND {a}.dec < {north})"
    return Node(text, text, [], "bool", tags=(tag,))


def _polygon(scope, source, lon, lat, size) -> Node:
    size = min(size, 30.0)
    lat = min(max(lat, -60.0), 60.0)
    angles = sorted(
        scope.rng.uniform(0, 2 * math.pi) for _ in range(scope.rng.choice([3, 4, 5]))
    )
    squeeze = max(0.3, math.cos(math.radians(lat)))
    corners = [
        (
            round((lon + size * math.cos(t) / squeeze) % 360, 6),
            round(lat + size * math.sin(t), 6),
        )
        for t in angles
    ]
    listed = ", ".join(f"{x}, {y}" for x, y in corners)
    adql = f"POLYGON({listed})"
    return _in_polygon(
        scope, source, adql, lambda: Polygon(tuple(corners)), "region polygon"
    )


def _box(scope, source, lon, lat, size) -> Node:
    width, height = (
        round(min(size, 50.0) + 0.001, 6),
        round(min(size, 40.0) * 0.7 + 0.001, 6),
    )
    lon, lat = round(lon, 6), round(min(max(lat, -60.0), 60.0), 6)
    adql = f"BOX({lon}, {lat}, {width}, {height})"
    return _in_polygon(
        scope, source, adql, lambda: box(lon, lat, width, height), "region box"
    )


def _in_polygon(scope, source, adql, make, tag) -> Node:
    try:
        center, east, north, plane = make().frame()
    except Exception:  # noqa: BLE001 - a polygon that the product refuses: any other
        return _compare(scope)
    a = source.alias
    parts = [
        f"qserv_x({a}.ra, {a}.dec)",
        f"qserv_y({a}.ra, {a}.dec)",
        f"qserv_z({a}.dec)",
    ]

    def dot(axis):
        terms = (f"{c} * {v!r}::DOUBLE" for c, v in zip(parts, axis, strict=True))
        return f"({' + '.join(terms)})"

    height, u, v = (
        dot(center),
        f"({dot(east)} / {dot(center)})",
        f"({dot(north)} / {dot(center)})",
    )
    odd = "FALSE"
    for (u1, v1), (u2, v2) in zip(plane, (*plane[1:], plane[0]), strict=True):
        if v1 != v2:
            slope = (u2 - u1) / (v2 - v1)
            odd = (
                f"({odd} <> (({v1!r}::DOUBLE > {v}) <> ({v2!r}::DOUBLE > {v}) AND "
                f"{u} < {u1!r}::DOUBLE + {slope!r}::DOUBLE * ({v} - {v1!r}::DOUBLE)))"
            )
    inside = scope.rng.choice([1, 1, 0])
    duck = f"({height} > 0 AND {odd})"
    text = f"({inside} = CONTAINS(POINT({a}.ra, {a}.dec), {adql}))"
    return Node(text, duck if inside else f"(NOT {duck})", [], "bool", tags=(tag,))
