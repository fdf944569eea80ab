"""Random conditions on HEALPix pixels: of positions, of homes, in a MOC."""

import math

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
    """Limit the pixel of a position by =, IN or BETWEEN."""
    rng, order = scope.rng, order_for(size)
    it, here = index(source, order, rng.randrange(2)), _at(lon, lat, order)
    more = [here, *(here + rng.randrange(1, 40) for _ in range(rng.randrange(4)))]
    form = rng.choice(["=", "IN", "BETWEEN", "NOT IN"])
    said = {
        "=": f"= {here}",
        "IN": f"IN ({', '.join(map(str, more))})",
        "NOT IN": f"NOT IN ({', '.join(map(str, more))})",
        "BETWEEN": f"BETWEEN {here - rng.randrange(3)} AND {max(more)}",
    }[form]
    text = f"({{0}} {said})"
    return Node(text, text, [it], "bool", tags=(f"region pixels {form}",))


def in_moc(scope, source, lon, lat, size) -> Node:
    """Limit a position to a MOC of one order or of several."""
    rng, finest = scope.rng, order_for(size)
    cells, ranges = [], []
    for order in sorted({finest, *(min(finest + rng.randrange(4), 13) for _ in "ab")}):
        last = 12 * 4**order - 1
        low = min(max(0, _at(lon, lat, order) + rng.choice([0, 0, -1, 3])), last)
        high = min(low + rng.choice([0, 0, 2, 9]), last)
        cells.append(f"{order}/{low}" + f"-{high}" * (high > low))
        shift = 2 * (healpix.ORDER - order)
        ranges.append((low << shift, ((high + 1) << shift) - 1))
    inside = rng.choice([1, 1, 0])
    a, it = source.alias, pixel(source, healpix.ORDER)
    adql = f"({inside} = CONTAINS(POINT({a}.ra, {a}.dec), MOC('{' '.join(cells)}')))"
    duck = " OR ".join(f"({it} BETWEEN {low} AND {high})" for low, high in ranges)
    duck = f"({duck})" if inside else f"(NOT ({duck}))"
    return Node(adql, duck, [], "bool", tags=(f"region MOC {inside}",))


def homes(scope, source, lon, lat, size) -> Node:
    """Limit the home of a row, which need not be the pixel of its position."""
    if not isinstance(source.relation, Table):
        return in_pixels(scope, source, lon, lat, size)
    rng, a = scope.rng, source.alias
    shift = 2 * (healpix.ORDER - order_for(size))
    low = _at(lon, lat, healpix.ORDER) >> shift << shift
    high = low + (rng.choice([1, 1, 4]) << shift) - 1
    said = rng.choice([f"BETWEEN {low} AND {high}", f">= {low}", f"< {high + 1}"])
    return Node(
        f"({a}._healpix_29 {said})",
        f"({a}._home {said})",
        [],
        "bool",
        tags=("region _healpix_29",),
    )
