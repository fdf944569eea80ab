"""Turn a condition on an expression into a condition on what stands inside it.

``ABS(dec - 5) * 3600 < 10`` says that `dec` lies in an interval. Intervals are grown by
more than the arithmetic rounds, so that no value is lost.
"""

import math
from collections.abc import Callable
from typing import Final

from qserv.catalog.tables import DataType
from qserv.plan.expressions import Call, Cast, Expression, Literal, Position
from qserv.sky.intervals import Intervals

_ROUNDING: Final = 2.0**-50
"""Relative; an operation rounds by 2**-53, and undoing it twice more."""
_TINY: Final = 1e-200
"""Absolute: below it numbers have fewer digits."""
_HUGE: Final = 1e100
"""Factors beyond it, or below its inverse, are left alone."""
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
        case _:
            return None


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
