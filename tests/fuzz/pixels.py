"""Random conditions on HEALPix pixels: of positions, of homes, in a MOC."""

import json
import math
import re

import numpy as np
from fuzz.nodes import Node, Source, Table

from qserv.sky import healpix


def pixel(source: Source, order: int) -> str:
    """Return the pixel of a source's position in the oracle's SQL."""
    a = source.alias
    deepest = f"qserv_pixel({a}.ra, {a}.dec)"
    if isinstance(source.relation, Table):
        deepest = f"{a}._pixel"
    return f"({deepest} >> {2 * (healpix.ORDER - order)})"


def index(source: Source, order: int, form: int) -> Node:
    """Return the pixel of a source's position, in one of its phrasings."""
    a = source.alias
    place = (f"{a}.ra, {a}.dec", f"POINT({a}.ra, {a}.dec)")[form]
    name = ("ivo_healpix_index", "IVO_HEALPIX_INDEX")[form]
    tags = ("geometry ivo_healpix_index",)
    return Node(f"{name}({order}, {place})", pixel(source, order), tags=tags)


def _at(lon: float, lat: float, order: int) -> int:
    return int(healpix.pixels(np.array([lon]), np.array([lat]), order)[0])


def order_for(size: float) -> int:
    """Return the order whose pixels are about as large as a size in degrees."""
    return int(np.clip(round(math.log2(58.6 / size)), 0, 13))


def in_pixels(scope, source, lon, lat, size) -> Node:
    """Limit the pixel of a position by any comparison, sometimes after arithmetic."""
    rng, order = scope.rng, order_for(size)
    it, here = index(source, order, rng.randrange(2)), _at(lon, lat, order)
    if rng.random() < 0.15:
        it = Node("({0} + 7)", "({0} + 7)", [it], "int")
        here += 7
    elif rng.random() < 0.15:
        it = Node("({0} / 4)", "({0} // 4)", [it], "int")
        here //= 4
    return _compared(rng, it, here, "pixels")


def _compared(rng, it: Node, here: int, what: str) -> Node:
    """Compare a whole number with one or more about some value."""
    more = [here, *(here + rng.randrange(1, 40) for _ in range(rng.randrange(6)))]
    listed = ", ".join(map(str, more))
    form, said = rng.choice(
        [
            ("=", f"{{0}} = {here}"),
            ("=", f"{here} = {{0}}"),
            ("compared", f"{{0}} {rng.choice(['<', '>', '<=', '>=', '<>'])} {here}"),
            ("compared", f"{here} {rng.choice(['<', '>'])} {{0}}"),
            ("DOUBLE", f"{{0}} {rng.choice(['<', '>', '<=', '>='])} {here + 0.5:.1f}"),
            ("IN", f"{{0}} IN ({listed})"),
            ("NOT IN", f"{{0}} NOT IN ({listed})"),
            ("BETWEEN", f"{{0}} BETWEEN {here - rng.randrange(3)} AND {max(more)}"),
        ]
    )
    # A number with a point is a DECIMAL in DuckDB.
    duck = re.sub(r"(\.\d)$", r"\1e0", said)
    tags = (f"region {what} {form}",)
    return Node(f"({said})", f"({duck})", [it], "bool", tags=tags)


def in_moc(scope, source, lon, lat, size) -> Node:
    """Limit a position to a MOC of one order or of several, or of many pixels."""
    rng, finest = scope.rng, order_for(size)
    cells: dict[int, set[int]] = {}
    for order in sorted({finest, *(min(finest + rng.randrange(4), 13) for _ in "ab")}):
        low = _at(lon, lat, order) + rng.choice([0, 0, -1, 3])
        many = range(low, low + rng.choice([1, 1, 3, 10]))
        if rng.random() < 0.06:
            many = range(low - 100, low + 100, 2)
        cells[order] = {p for p in many if 0 <= p < 12 * 4**order}
    inside = rng.choice([1, 1, 0])
    a, duck = source.alias, _in_cells(pixel(source, healpix.ORDER), cells)
    listed = _written(rng, cells)
    adql = f"({inside} = CONTAINS(POINT({a}.ra, {a}.dec), MOC('{listed}')))"
    tags = (f"region MOC {inside}",)
    if "{" in adql:
        tags += ("region MOC as JSON",)
        adql = adql.replace("{", "{{").replace("}", "}}")
    return Node(adql, duck if inside else f"(NOT {duck})", [], "bool", tags=tags)


def _in_cells(it: str, cells: dict[int, set[int]]) -> str:
    ranges = [
        (p << (shift := 2 * (healpix.ORDER - order)), ((p + 1) << shift) - 1)
        for order, pixels in cells.items()
        for p in sorted(pixels)
    ]
    listed = [f"({it} BETWEEN {low} AND {high})" for low, high in ranges]
    # Of no position it is not known, though there be no pixel.
    return f"({' OR '.join(listed) or f'{it} < 0'})"


def _written(rng, cells: dict[int, set[int]]) -> str:
    """Write a MOC as text: pixels one by one or as ranges; or as JSON."""
    if rng.random() < 0.3:
        return json.dumps({str(order): sorted(found) for order, found in cells.items()})
    words = []
    for order, found in cells.items():
        pixels = sorted(found)
        whole = len(pixels) > 1 and pixels[-1] - pixels[0] == len(pixels) - 1
        said = f"{pixels[0]}-{pixels[-1]}" if whole else " ".join(map(str, pixels))
        words.append(f"{order}/{said}")
    return " ".join(words)


def homes(scope, source, lon, lat, size) -> Node:
    """Limit the home of a row, which need not be the pixel of its position."""
    if not isinstance(source.relation, Table):
        return in_pixels(scope, source, lon, lat, size)
    rng, a = scope.rng, source.alias
    shift = 2 * (healpix.ORDER - order_for(size))
    low = _at(lon, lat, healpix.ORDER) >> shift << shift
    if rng.random() < 0.6:
        it = Node(f"{a}._healpix_29", f"{a}._home", kind="int")
        here = _at(lon, lat, healpix.ORDER)
        return _compared(rng, it, here, "_healpix_29")
    high = low + (rng.choice([1, 1, 4]) << shift) - 1
    said = rng.choice([f"BETWEEN {low} AND {high}", f">= {low}", f"< {high + 1}"])
    adql, duck = (f"({a}.{name} {said})" for name in ("_healpix_29", "_home"))
    return Node(adql, duck, [], "bool", tags=("region _healpix_29",))
