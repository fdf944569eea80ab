"""Turn a condition on an expression into a condition on what stands inside it.

``ABS(dec - 5) * 3600 < 10`` says that `dec` lies in an interval. Intervals are grown by
more than the arithmetic rounds, so that no value is lost.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from qserv.catalog.tables import DataType
from qserv.plan.expressions import Call, Cast, Expression, Literal, Position
from qserv.sky.healpix import ORDER
from qserv.sky.intervals import Intervals
from qserv.sky.ranges import RangeSet
from qserv.sky.refine import united

_ROUNDING: Final = 2.0**-50
"""Relative; an operation rounds by 2**-53, and undoing it twice more."""
_DIGITS: Final = 50
"""Bits to which a whole number is exact as a DOUBLE, after some operations."""
_TINY: Final = 1e-200
"""Absolute: below it numbers have fewer digits."""
_HUGE: Final = 1e100
"""Factors beyond it, or below its inverse, are left alone."""
_FIRST_CHUNK: Final = 4
"""The least number of a chunk; of order k it is this times 4**k."""
_CELL: Final = 2**34
"""Order-29 pixels in one of order 12, which is a subchunk."""
_OPPOSITE: Final = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "=": "<>", "<>": "="}
_TURNS: Final = {"RADIANS": math.pi / 180, "DEGREES": 180 / math.pi}

_Step = tuple[Expression, Intervals] | None


def constant(node: Expression) -> int | float | None:
    """Return the number that an expression is for every row; None if it is none."""
    match node:
        case Literal(value=bool()):
            return None
        case Literal(value=int() | float() as value):
            return value if math.isfinite(value) else None
        case Cast(argument=inner, datatype=DataType.DOUBLE):
            return None if (found := constant(inner)) is None else float(found)
        case Call("FINITE", (inner,)):
            return constant(inner)
        case Call("NEGATE", (inner,)):
            return None if (found := constant(inner)) is None else -found
        case Call(name, (left, right)) if name in {"+", "-", "*", "/"}:
            return _folded(name, constant(left), constant(right))
        case _:
            return None


def _folded(name: str, a: float | None, b: float | None) -> int | float | None:
    if a is None or b is None or (name == "/" and not b):
        return None
    match name:
        case "+":
            value = a + b
        case "-":
            value = a - b
        case "*":
            value = a * b
        case _:
            value = a / b
    return value if abs(value) < _HUGE else None


def bare(node: Expression) -> Expression:
    """Return a number without the conversions to DOUBLE around it."""
    while (
        isinstance(node, Cast)
        and node.datatype is DataType.DOUBLE
        and node.argument.datatype.is_numeric
    ):
        node = node.argument
    return node


def is_place(position: Position, own: Position) -> bool:
    """Whether two positions are the same columns."""
    return bare(position.lon) == bare(own.lon) and bare(position.lat) == bare(own.lat)


def solve(value: Expression, wanted: Intervals) -> tuple[Expression, Intervals]:
    """Take monotone arithmetic off an expression.

    Parameters
    ----------
    value
        The expression.
    wanted
        Where it must lie.

    Returns
    -------
    inner, wanted
        A part of the expression, and where that must lie for it.
    """
    while (step := _undone(value, wanted)) is not None:
        value, wanted = step
    return value, wanted


def _undone(value: Expression, wanted: Intervals) -> _Step:
    match value:
        case Cast() if (inner := bare(value)) is not value:
            return inner, wanted
        case Call("FINITE", (inner,)):
            return inner, wanted
        case Call("NEGATE", (inner,)):
            return inner, wanted.through(lambda low, high: [(-high, -low)])
        case Call("ABS", (inner,)):
            sizes = wanted & Intervals.of([(0.0, math.inf)])
            return inner, sizes.through(lambda low, high: [(low, high), (-high, -low)])
        case Call("RADIANS" | "DEGREES" as name, (inner,)):
            return inner, _scaled(wanted, 1 / _TURNS[name])
        case Call("+" | "-" | "*" | "/" as name, (left, right)):
            return _arithmetic(name, left, right, wanted)
        case Call("SUBCHUNK", (inner,)):
            return inner, _divided(wanted, _CELL)
        case Call("//", (inner, Literal(value=int() as number))) if number > 0:
            return inner, _divided(wanted, number)
        case _:
            return None


def _divided(wanted: Intervals, by: int) -> Intervals:
    """Return where a whole number may lie whose quotient, cut off, is wanted."""

    def low(end: float) -> float:
        if math.isinf(end):
            return end
        whole = math.ceil(end)
        return whole * by if whole > 0 else (whole - 1) * by + 1

    return wanted.through(lambda first, last: [(low(first), -low(-last))])


def _arithmetic(
    name: str, left: Expression, right: Expression, wanted: Intervals
) -> _Step:
    if (number := constant(right)) is not None:
        return _on_left(name, left, float(number), wanted)
    if (number := constant(left)) is not None:
        return _on_right(name, right, float(number), wanted)
    return None


def _on_left(name: str, inner: Expression, number: float, wanted: Intervals) -> _Step:
    match name:
        case "+":
            return inner, _shifted(wanted, -number)
        case "-":
            return inner, _shifted(wanted, number)
        case "*" if 1 / _HUGE < abs(number) < _HUGE:
            return inner, _scaled(wanted, 1 / number)
        case "/" if 1 / _HUGE < abs(number) < _HUGE:
            return inner, _scaled(wanted, number)
        case _:
            return None


def _on_right(name: str, inner: Expression, number: float, wanted: Intervals) -> _Step:
    match name:
        case "+" | "*":
            return _on_left(name, inner, number, wanted)
        case "-":
            turned = _shifted(wanted, -number)
            return inner, turned.through(lambda low, high: [(-high, -low)])
        case _:
            return None


def _shifted(wanted: Intervals, by: float) -> Intervals:
    return _grown(wanted, lambda end: (end + by, abs(end) + abs(by)))


def _scaled(wanted: Intervals, by: float) -> Intervals:
    return _grown(wanted, lambda end: (end * by, abs(end * by)))


def _grown(
    wanted: Intervals, change: Callable[[float], tuple[float, float]]
) -> Intervals:
    """Move the ends of intervals, outwards by the rounding of numbers of some size."""

    def moved(low: float, high: float) -> list[tuple[float, float]]:
        ends = sorted((change(low), change(high)))
        (first, below), (last, above) = ends
        return [(_outward(first, below, -1), _outward(last, above, 1))]

    return wanted.through(moved)


def _outward(end: float, size: float, sign: int) -> float:
    if math.isinf(end):
        return end
    return end + sign * (size * _ROUNDING + _TINY)


def compared(value: Expression, name: str, limit: float, truth: bool) -> Intervals:
    """Return where a number may lie whose comparison with a limit is true, or false.

    A whole number that is more than another is at least one more.
    """
    if not truth:
        name = _OPPOSITE[name]
    step = 1 if value.datatype.is_integer and isinstance(limit, int) else 0
    below, above = (-math.inf, limit - step), (limit + step, math.inf)
    match name:
        case "=":
            pairs = [(limit, limit)]
        case "<>":
            pairs = [below, above]
        case "<":
            pairs = [below]
        case ">":
            pairs = [above]
        case "<=":
            pairs = [(-math.inf, limit)]
        case _:
            pairs = [(limit, math.inf)]
    return Intervals.of(pairs)


def among(value: Expression, items: Sequence[float], truth: bool) -> Intervals:
    """Return where a number may lie that is, or is not, one of some."""
    whole = value.datatype.is_integer and all(isinstance(i, int) for i in items)
    items = items if whole else [float(i) for i in items]
    if truth:
        return Intervals.of((item, item) for item in items)
    step = 1 if whole else 0
    ends = [-math.inf, *sorted(items), math.inf]
    return Intervals.of((low + step, high - step) for low, high in pairwise(ends))


def numbered(order: int, wanted: Intervals) -> RangeSet:
    """Return the pixels of an order whose numbers may lie in intervals."""
    last, shift = 12 * 4**order - 1, 2 * (ORDER - order)
    inside = (wanted & Intervals.of([(0, last)])).pairs
    spans = ((_rounded(low, -1), _rounded(high, 1)) for low, high in inside)
    return RangeSet.of(
        (max(low, 0) << shift, min(high, last) + 1 << shift)
        for low, high in spans
        if low <= high
    )


def in_chunks(wanted: Intervals) -> RangeSet:
    """Return what the chunks hold whose numbers may lie in intervals."""
    ids = wanted & Intervals.of([(_FIRST_CHUNK, _FIRST_CHUNK * 4 ** (ORDER + 1) - 1)])
    spans = [(_rounded(low, -1), _rounded(high, 1)) for low, high in ids.pairs]
    parts = []
    for order in range(ORDER + 1):
        first = _FIRST_CHUNK * 4**order
        of_order = Intervals.of((low - first, high - first) for low, high in spans)
        parts.append(numbered(order, of_order))
    return united(*parts)


def _rounded(end: float, sign: int) -> int:
    """Return the whole number at an end, or as far beyond it as rounding goes.

    What is compared with a DOUBLE is rounded to one.
    """
    if isinstance(end, int):
        return end
    whole = math.floor(end) if sign > 0 else math.ceil(end)
    return whole + sign * (abs(whole) >> _DIGITS)
